"""Every kind of check seen to say yes, no and unclear, and what becomes of it in a claim."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr

from companion.lab.checks import (
    Check,
    anyway,
    at_least,
    at_most,
    claim,
    equal,
    exponent_at_most,
    exponent_near,
    falls,
    identity,
    probability_at_least,
    true,
)

NAN, INF = math.nan, math.inf
SIZES = [10, 40, 160, 640]


def over(values, sizes=SIZES, dims=("seed", "width")):
    """Samples at sizes."""
    return xr.DataArray(np.array(values, dtype=float), dims=dims, coords={"width": sizes})


def power(exponent, noise=0.0, seeds=5, sizes=SIZES):
    """A power law whose logarithm scatters by `noise`, in a way that leaves the exponent alone."""
    scatter = noise * np.outer((-1.0) ** np.arange(seeds), np.resize([1, -1, -1, 1], len(sizes)))
    return over(np.array(sizes, dtype=float) ** exponent * np.exp(scatter), sizes)


def by_seed(values):
    return xr.DataArray(np.array(values, dtype=float), dims=["seed"])


@pytest.mark.parametrize(
    ("samples", "answer", "words"),
    [
        ([0.5, 1.0], "yes", "share at most 1"),
        ([0.5, 1.0 + 1e-15], "no", "share at most 1"),
        (0.25, "yes", "share at most 0.25"),
        ([[0.5], [2.0]], "no", "share at most 2"),
        (by_seed([0.25, 0.75]), "yes", "share at most 0.5 (0.25 to 0.75 over 2 seeds)"),
        (by_seed([0.25]), "yes", "share at most 0.25"),
        (by_seed([3.0, 3.0]), "no", "share at most 3 (3 to 3 over 2 seeds)"),
        (over([[0.5, 1, 0, 0], [2, 0, 0, 0]]), "no", "share at most 1.5 (1 to 2 over 2 seeds)"),
        ([0.5, NAN], "unclear", "share at most nan"),
        ([2.0, NAN], "unclear", "share at most nan"),
        (by_seed([0.5, NAN]), "unclear", "share at most nan (nan to nan over 2 seeds)"),
        (over(np.full((1, 4), NAN)), "unclear", "share at most nan"),
        ([INF], "no", "share at most inf"),
        ([], "unclear", "share: none"),
        (by_seed([]), "unclear", "share: none"),
        (over(np.zeros((0, 4))), "unclear", "share: none"),
    ],
)
def test_at_most(samples, answer, words):
    found = at_most("share", samples)
    assert found == Check(answer, words, "1, exactly")
    mirrored = -np.asarray(samples) if not isinstance(samples, xr.DataArray) else -samples
    assert at_least("share", mirrored, -1).answer == answer


@pytest.mark.parametrize(
    ("samples", "answer", "words"),
    [
        ([2.0, 3.0], "yes", "rate at least 2"),
        ([1.999, 3.0], "no", "rate at least 2"),
        (over([[5, 4, 3, 9], [6, 5, 4, 9]]), "yes", "rate at least 3.5 (3 to 4 over 2 seeds)"),
        ([NAN], "unclear", "rate at least nan"),
        ([-INF], "no", "rate at least -inf"),
        ([], "unclear", "rate: none"),
    ],
)
def test_at_least(samples, answer, words):
    assert at_least("rate", samples, 2) == Check(answer, words, "2, exactly")


def test_a_bound_that_is_no_number_is_not_kept_to():
    assert at_most("share", [0.5], NAN).answer == "unclear"
    assert at_least("share", [0.5], NAN).answer == "unclear"
    assert identity("sides", [0.5], NAN).answer == "unclear"


def test_numbers_have_the_form_asked_for():
    assert at_most("share", [0.123456], 0.5, ".4f") == Check(
        "yes", "share at most 0.1235", "0.5000, exactly"
    )


@pytest.mark.parametrize(
    ("gaps", "answer", "words"),
    [
        ([0.0, 1e-13, -1e-13], "yes", "sides off by 1.0e-13"),
        ([1e-12], "yes", "sides off by 1.0e-12"),
        ([1e-13, -2e-12], "no", "sides off by 2.0e-12"),
        (by_seed([0.0, 0.0]), "yes", "sides off by 0.0e+00"),
        ([0.0, NAN], "unclear", "sides off by nan"),
        ([INF], "no", "sides off by inf"),
        ([], "unclear", "sides: nothing compared"),
    ],
)
def test_identity(gaps, answer, words):
    assert identity("sides", gaps, 1e-12, "64 eps") == Check(answer, words, "1e-12 (64 eps)")


@pytest.mark.parametrize(
    ("flags", "answer", "words"),
    [
        ([True, True], "yes", "positive"),
        (True, "yes", "positive"),
        ([True, False, False], "no", "positive: not in 2 of 3"),
        (by_seed([1, 1]), "yes", "positive"),
        (by_seed([1, 0]), "no", "positive: not in 1 of 2"),
        ([1.0, NAN], "unclear", "positive: not known in 1 of 2"),
        ([0.0, NAN], "unclear", "positive: not known in 1 of 2"),
        ([], "unclear", "positive: not known in any case, as there is none"),
    ],
)
def test_true(flags, answer, words):
    assert true("positive", flags) == Check(answer, words, "always")


def test_true_may_say_what_is_measured_otherwise():
    assert true("positive", [False], "negative at n = 3").measured == "negative at n = 3"
    assert true("positive", [True], "negative at n = 3").measured == "positive"


@pytest.mark.parametrize(
    ("samples", "answer"),
    [
        (over([[4, 3, 2, 1], [8, 4, 2, 1]]), "yes"),
        (over([[4, 3, 2, 1], [8, 2, 4, 1]]), "no"),
        (over([[4, 3, 2, 1], [3, 3, 2, 1]]), "no"),
        (over([[1, 1, 1, 1]]), "no"),
        (over([[4, 3, 2, 1]]), "yes"),
        (over([4, 3, 2, 1], dims=("width",)), "yes"),
        (over([[1, 2, 3, 4]], SIZES[::-1]), "yes"),
        (over([[4, 3, 2, 1]], SIZES[::-1]), "no"),
        (over([[4, 3]], [1, 2]), "yes"),
        (over([[4]], [1]), "unclear"),
        (over(np.zeros((1, 0)), []), "unclear"),
        (over(np.zeros((0, 4))), "unclear"),
        (over([[4, 3, NAN, 1]]), "unclear"),
        (over([[4, NAN, 5, 1]]), "unclear"),
    ],
)
def test_falls(samples, answer):
    found = falls("drift", samples, "width")
    assert found.answer == answer
    assert found.tolerance == "falls from each to the next, in every seed"


def test_falls_tells_both_ends():
    found = falls("drift", over([[4, 3, 2, 1], [8, 4, 2, 1]]), "width")
    assert found.measured == "drift 6 (4 to 8 over 2 seeds) at 10, 1 (1 to 1 over 2 seeds) at 640"
    assert falls("drift", over([[4, 3, 2, 1]], SIZES[::-1]), "width").measured == (
        "drift 1 at 10, 4 at 640"
    )


EXPONENTS = [
    # samples, near -1/2 within 0.1, at most -1/2 within 0.1
    (power(-0.5), "yes", "yes"),
    (power(-0.5, 0.05), "yes", "yes"),
    (power(-0.41, 0.001), "yes", "yes"),
    (power(-0.39, 0.001), "no", "no"),
    (power(-0.61, 0.001), "no", "yes"),
    (power(-2.0, 0.05), "no", "yes"),
    (power(0.0), "no", "no"),
    (over(np.full((3, 4), 7.0)), "no", "no"),
    (power(0.5, 0.05), "no", "no"),
    (power(-0.4, 0.05), "unclear", "unclear"),
    (power(-0.6, 0.05), "unclear", "yes"),
    (power(-0.5, 3.0), "unclear", "unclear"),
    (power(0.0, 3.0), "unclear", "unclear"),
    (power(-0.5, seeds=1), "yes", "yes"),
    (power(-0.5, 0.3, seeds=1), "unclear", "unclear"),
    (power(-0.5, sizes=[10, 20]), "unclear", "unclear"),
    (power(0.5, sizes=[10, 20]), "unclear", "unclear"),
    (power(-0.5, seeds=1, sizes=[10]), "unclear", "unclear"),
    (power(-0.5).where(power(-0.5) < 0.3), "unclear", "unclear"),
    (0 * power(-0.5), "unclear", "unclear"),
    (-power(-0.5), "unclear", "unclear"),
    (power(-0.5) / 0, "unclear", "unclear"),
    (over(np.zeros((0, 4))), "unclear", "unclear"),
    (over(np.zeros((3, 0)), []), "unclear", "unclear"),
]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(("samples", "near", "most"), EXPONENTS)
def test_exponents_are_judged_by_their_interval(samples, near, most):
    found = exponent_near("drift in m", samples, -0.5, 0.1)
    assert found.answer == near
    assert found.tolerance == "-0.5 within 0.1"
    assert found.measured.startswith("exponent of drift in m ")
    found = exponent_at_most("drift in m", samples, -0.5, 0.1)
    assert found.answer == most
    assert found.tolerance == "at most -0.5, within 0.1"


def test_an_exponent_is_told_with_its_interval():
    found = exponent_near("drift in n", power(2.0).rename(width="n"), 2, 0.1, along="n")
    assert found.measured == "exponent of drift in n 2.000 (2.000 to 2.000)"
    assert exponent_near("it", power(2.0), NAN, 0.1).answer == "unclear"
    assert exponent_at_most("it", power(2.0), 2, NAN).answer == "unclear"


def test_noise_does_not_decide_an_exponent():
    """What is no power of m at all, and sqrt(m), measured with any noise: never called -1/2."""
    rng = np.random.default_rng(0)
    for noise, _ in itertools.product([0.1, 0.5, 1.0, 2.0, 5.0], range(40)):
        for wrong in (0.0, 0.5):
            samples = power(wrong, seeds=3) * np.exp(noise * rng.standard_normal((3, 4)))
            assert exponent_near("it", samples, -0.5, 0.1).answer != "yes"
            assert exponent_at_most("it", samples, -0.5, 0.1).answer != "yes"


@pytest.mark.parametrize(
    ("means", "errors", "target", "answer"),
    [
        ([1.0, 2.01], [0.01, 0.01], [1.0, 2.0], "yes"),
        ([1.0, 2.01], 0.01, [1.0, 2.0], "yes"),
        (1.03, 0.01, 1.0, "yes"),
        (1.05, 0.01, 1.0, "no"),
        ([1.0, 1.0, 1.05], 0.01, 1.0, "no"),
        (1.5, 0.5, 1.0, "unclear"),  # huge noise
        (100.0, 0.5, 1.0, "no"),
        ([1.0, 1.0], [0.01, 0.5], 1.0, "unclear"),
        (-1.0, 0.01, -1.0, "yes"),
        (NAN, 0.01, 1.0, "unclear"),
        ([1.0, 1.0], [0.01, NAN], 1.0, "unclear"),  # the error of one sample
        ([5.0, NAN], 0.01, 1.0, "unclear"),
        (1.0, 0.01, NAN, "unclear"),
        (1.0, INF, 1.0, "unclear"),
        (1.0, 0.01, 0.0, "unclear"),
        (0.0, 0.0, 0.0, "unclear"),
        (1.0, 0.0, 1.0, "yes"),  # samples that do not scatter
        (0.1 + 0.2, 0.0, 0.3, "yes"),
        (1.001, 0.0, 1.0, "no"),
        ([], [], [], "unclear"),
    ],
)
def test_equal(means, errors, target, answer):
    found = equal("square", means, errors, target, 0.2)
    assert found.answer == answer
    assert found.tolerance == "4 standard errors, which may be 20% of the value"


def test_equal_tells_how_far_off():
    found = equal("square", [1.03, 1.0], [0.01, 0.01], 1.0, 0.2)
    assert found.measured == "square off by at most 3.0 standard errors, mean ratio 1.015"
    assert equal("square", NAN, 1, 1, 0.2).measured == (
        "square: not every mean and target is a number"
    )


def test_equal_means_are_seldom_mistaken():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        samples = 1 + rng.standard_normal((50, 40))
        errors = samples.std(axis=0, ddof=1) / math.sqrt(50)
        wrong += equal("it", samples.mean(axis=0), errors, 1.0, 1.0).answer == "no"
    assert wrong <= 8  # of 300 runs with forty comparisons each


@pytest.mark.parametrize(
    ("good", "of", "least", "answer"),
    [
        (100, 100, 0.9, "yes"),
        (29, 29, 0.9, "yes"),  # 0.9^29 < 0.05
        (28, 28, 0.9, "unclear"),
        (1, 1, 0.9, "unclear"),
        (0, 1, 0.9, "unclear"),
        (0, 1, 0.96, "no"),  # 0.04 < 0.05
        (0, 3, 0.9, "no"),
        (90, 100, 0.9, "unclear"),
        (80, 100, 0.9, "no"),
        (97, 100, 0.9, "yes"),
        (100, 100, 1.0, "unclear"),
        (99, 100, 1.0, "no"),
        (100, 100, NAN, "unclear"),
    ],
)
def test_probability_at_least(good, of, least, answer):
    flags = np.arange(of) < good
    found = probability_at_least("it", flags.reshape(-1, 1), least)
    assert found.answer == answer
    assert found.measured == f"it in {good} of {of}"
    assert probability_at_least("it", by_seed(flags), least).answer == answer
    assert found.tolerance == f"probability {least:g}, with 95% confidence"


def test_trials_that_are_not_known_or_not_there_say_nothing():
    assert probability_at_least("it", [1.0] * 100 + [NAN], 0.9).measured == (
        "it: not known in 1 of 101"
    )
    assert probability_at_least("it", [1.0] * 100 + [NAN], 0.9).answer == "unclear"
    assert probability_at_least("it", [], 0.9).answer == "unclear"


YES, NO, UNCLEAR = (Check(answer, f"was {answer}", "1") for answer in ("yes", "no", "unclear"))
WORDS = {"holds": "It holds.", "fails": "It fails."}


def outcome(*checks, outside=""):
    return claim("a-thm1", "so", *checks, outside=outside, **WORDS).outcome


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_combination_of_answers(size):
    kinds = [YES, NO, UNCLEAR, *map(anyway, (YES, NO, UNCLEAR))]
    for checks in itertools.product(kinds, repeat=size):
        answers = [check.answer for check in checks]
        whatever = [check.answer for check in checks if check.anyway]
        inside = outcome(*checks)
        if "no" in answers:
            assert inside == "fails"
        else:
            assert inside == ("inconclusive" if "unclear" in answers else "holds")
        unmet = outcome(*checks, outside="m is small")
        if "no" in whatever:
            assert unmet == "fails"
        elif set(answers) == {"yes"}:
            assert unmet == "outside-regime"
        else:
            assert unmet == "inconclusive"


def test_sentences_of_every_outcome():
    def sentence(*checks, **options):
        return claim("a-thm1", "so", *checks, **WORDS, **options).sentence

    unmet = {"outside": "the width is 10 and 1000 is needed"}
    assert sentence(YES) == "It holds."
    assert sentence(YES, NO, UNCLEAR) == "It fails."
    assert sentence(YES, UNCLEAR) == "The measurement cannot tell: was unclear."
    assert sentence(UNCLEAR, unclear="Nobody knows.") == "Nobody knows."
    assert sentence(YES, **unmet) == "It holds, but the width is 10 and 1000 is needed."
    assert sentence(NO, **unmet) == (
        "The conclusion was not seen, of which nothing follows: the width is 10 and 1000 is needed."
    )
    assert sentence(anyway(NO), **unmet) == "It fails."
    assert sentence(UNCLEAR, **unmet) == "The measurement cannot tell: was unclear."


def test_a_verdict_carries_all_words_and_each_tolerance_once():
    other = Check("yes", "was other", "2")
    found = claim("a-thm1", "so much", YES, other, anyway(YES), **WORDS)
    assert found.claim == "a-thm1"
    assert found.predicted == "so much"
    assert found.measured == "was yes; was other; was yes"
    assert found.tolerance == "1; 2"


def test_a_claim_without_a_check_does_not_hold():
    with pytest.raises(ValueError, match="the claim a-thm1 is given no check"):
        claim("a-thm1", "so", **WORDS)


def test_a_check_that_stands_anyway_is_otherwise_the_same():
    assert anyway(NO) == Check("no", NO.measured, NO.tolerance, anyway=True)


def test_slack_of_means_of_different_sizes_is_each_one_s_own():
    """0.04 is known to 10 %, and 1 to 1 %: no value off by 40 % of anything could pass."""
    slack = equal("share", [0.04, 1.0], [0.001, 0.0025], [0.04, 1.0], 0.2).slack
    assert slack.startswith("a value off by 10.")
