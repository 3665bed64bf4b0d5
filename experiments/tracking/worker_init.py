"""What a run imports of MLflow, for the server from which processes are forked."""

import alembic.command
import alembic.config  # noqa: F401
import mlflow.models.display_utils
import mlflow.models.model
import mlflow.paddle
import mlflow.pyfunc.loaders
import mlflow.store.tracking.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_workspace_store
import mlflow.tracing.export
import mlflow.tracing.processor.base_mlflow
import mlflow.tracing.provider  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401
from sqlalchemy.orm import configure_mappers

configure_mappers()
