"""The losses: pure functions from outputs and labels to one value per example.

All of them have the same contract:

* The first parameter states the head: `logits` [batch, K], K >= 2, one score per class; `cosines`
  [batch, K], in [-1, 1]; or `prediction` [batch], one number that is read as the label itself. They
  are float32 or float64, and so is the result.
* `labels` [batch] are int64 in 0..K-1 for logits and cosines, and any integers or floats for a
  prediction.
* The result is [batch], in nats where logarithms are involved; the caller reduces.
* Hyperparameters are keyword-only, with a default. They are checked here, where they are used, by
  `guards.check_number` at the top.
* A wrong type or dtype raises TypeError, a wrong shape or value ValueError. Nothing is ever
  broadcast.

The formulas are for one example: z its logits, p = softmax(z), y its true class, e the one-hot
vector of y, f its prediction. The modules, by what a loss looks at:

    regression.py     one number: the prediction is compared with the label as a quantity
    true_class.py     logits, through the probability of the true class alone
    probabilities.py  logits, through all the probabilities
    scores.py         logits as plain scores, without a softmax
    imbalanced.py     logits or cosines, and how many training examples each class has
    cosines.py        cosines of the features and the weights of each class
    layers.py         logits, with a state or parameters of its own: classes
    numerics.py       what the formulas share: log-odds, softplus
    checks.py         which outputs and labels are refused, and the messages

A new loss is one function in the module where it belongs and one conf/loss/NAME.yaml with its
defaults; tests/unit/test_losses.py finds it. It is named experiments.losses.NAME, wherever it is
written. Reductions, class weights, accuracies and whatever knows a network belong elsewhere.

Why Paddle's own losses are not called: on the CPU, Paddle 3.3.1 lets cross-entropy stop growing at
64, gives the binary cross-entropy of logits a wrong gradient at 0, broadcasts [N, 1] against [N],
and rounds Huber's delta to float32.
"""

# ruff: noqa: F403  # a list of names would be one more place to edit

from experiments.losses.cosines import *
from experiments.losses.imbalanced import *
from experiments.losses.layers import *
from experiments.losses.probabilities import *
from experiments.losses.regression import *
from experiments.losses.scores import *
from experiments.losses.true_class import *
