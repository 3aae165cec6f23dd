"""The bias and its decomposition against plain definitions."""

from __future__ import annotations

import torch

from entropylens.measures.distribution import bias, entropy_from_log, kl_from_log
from entropylens.tasks.language import Language, entropy, kl_divergence
from entropylens.tasks.targets import autoregressive_dirichlet, sparse_support

LANGUAGE = Language(3, 3)
MODEL = torch.stack([autoregressive_dirichlet(LANGUAGE, seed=s) for s in (1, 2)])
TARGET = torch.stack([sparse_support(LANGUAGE, 5, seed=s) for s in (3, 4)])
SEEN = torch.stack([LANGUAGE.empirical(LANGUAGE.sample(p, 20, torch.Generator().manual_seed(5))) for p in TARGET])


def test_logs_give_what_probabilities_give() -> None:
    torch.testing.assert_close(entropy_from_log(MODEL.log()), entropy(MODEL), rtol=0, atol=1e-13)
    torch.testing.assert_close(kl_from_log(TARGET, MODEL.log()), kl_divergence(TARGET, MODEL), rtol=0, atol=1e-13)


def test_the_parts_add_up_and_are_what_they_say() -> None:
    got = bias(MODEL.log(), TARGET, SEEN)
    torch.testing.assert_close(got["bias"], got["sample_bias"] + got["model_bias"])
    torch.testing.assert_close(got["sample_bias"], entropy(SEEN) - entropy(TARGET))
    torch.testing.assert_close(got["excess_loss"], kl_divergence(SEEN, MODEL))
    torch.testing.assert_close(got["lowering"], -got["bias"])
    assert (got["shortfall"] >= 0).all()


def test_a_model_that_equals_its_sample_has_only_the_sample_s_bias() -> None:
    full = torch.stack([autoregressive_dirichlet(LANGUAGE, seed=s) for s in (6, 7)])
    got = bias(full.log(), TARGET, full)
    torch.testing.assert_close(got["model_bias"], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-13)
    torch.testing.assert_close(got["excess_loss"], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-13)


def test_a_diverged_model_is_nan_and_stays_alone() -> None:
    logs = MODEL.log()
    logs[0] = torch.nan
    got = bias(logs, TARGET, SEEN)
    assert got["bias"].isnan().tolist() == [True, False]
    torch.testing.assert_close(got["bias"][1], entropy(MODEL[1]) - entropy(TARGET[1]))
