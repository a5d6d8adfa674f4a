"""Relation Networks by hand."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.learners import RelationNet


def test_a_class_is_the_sum_of_its_examples_and_the_score_a_function_of_the_pair():
    learner = RelationNet(nn.Identity(), hidden=3, features=2)
    support = Examples(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]]), torch.tensor([[0, 1, 0]]))
    query = torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    logits = learner.adapt(support)(query)
    for q in range(2):
        for way, total in enumerate(([3.0, 2.0], [0.0, 1.0])):
            assert_close(logits[0, q, way], learner.g(torch.cat([torch.tensor(total), query[0, q]]))[0])


def test_the_loss_is_the_squared_error_of_the_relation_scores():
    learner = RelationNet(nn.Identity(), features=2)
    examples = Examples(torch.randn(1, 2, 2), torch.tensor([[0, 1]]))
    outcome = learner.loss(Episode(examples, examples))
    score = outcome.prediction.sigmoid()
    assert_close(outcome.loss, (score - torch.eye(2)).square().mean())


def test_a_relation_network_of_no_unit_is_refused():
    with pytest.raises(InputError, match="hidden"):
        RelationNet(nn.Identity(), hidden=0, features=2)
