"""One experiment: configuration in, metrics in MLflow out.

The map, in the order in which a run passes through it:

    run.py         the command: compose, check, train, record
    config.py      the typed scalars of the config, their ranges, and the checks of every option
    composition.py Hydra's composition of a config, its refusals in words
    guards.py      what an option's values may be
    machine.py     what has to be set before Paddle loads: threads, fast paths
    places.py      where the store, its artifacts and its checkpoints lie
    data/          the data sets, where their files come from, splits, label noise, orders
    models.py      networks: image -> raw outputs
    kernels/conv_block.py  convolution, pooling and ReLU in one, several times faster than the three
    heads.py       what raw outputs mean: a class, probabilities or none
    losses/        every loss: a pure function -> one value per example
    optimizers.py  what one step does with the gradient
    schedulers.py  learning rate over the steps of a run
    corruptions.py test images under noise, blur, warps, light
    metrics.py     numbers computed from outputs and labels, exactly
    training.py    the loop: a generator with one record per epoch
    checks.py      the classic mistakes, as a loss and a network's outputs show them
    tracking/      the only writer of MLflow; who owns a run
    source_digest.py  digests of the code that computes a run's numbers
    reuse.py       which finished runs count for a command, and which ran other code
    contract.py    what both halves use: commands that can be typed, how runs differ
    credentials.py what is removed from free text: passwords, tokens, keys
    terminal.py    what the programs print, in any encoding; numbers in words
    checkpoints.py where a run stands, in one file
    execution.py   one run: locked, trained, recorded, continued
    processes.py   a fresh process for each run and each check
    option_checks.py  the checks of options before anything trains, each in a process of its own
    worker_init.py  what these processes share: Paddle, MLflow, nothing of a user's
    tuning.py      choosing learning rates with an equal budget
    plan.py        what a command would do, and how long it would take
    rerun.py       a finished run once more, from its id
    comparison.py  what differs between two runs, number by number; for `reports`, too
    sweep.py       many runs: identities, what is finished already, the parent run
    table.py       what a command says of its runs at its end

hydra_plugins/ holds the two ends of Hydra that are ours: the sweeper, which leaves out finished
runs, and the launchers, which give each job a process of its own. Import rule: `guards`, `heads`
and `data` import nothing else of the package, `losses` only `guards`, `training` knows neither
Hydra nor MLflow, only `tracking` writes to MLflow, and nothing here imports `reports`. This file
imports nothing, so that `import experiments.losses` costs what it needs and no more.
"""
