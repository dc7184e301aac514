"""Every kind of check seen to say yes, no and unclear, and what becomes of it in a claim."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr

from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    equal,
    exponent_at_most,
    exponent_near,
    falls,
    identity,
    note,
    probability_at_least,
    slack_factor,
    true,
    vanishes,
)
from companion.lab.results import Check
from companion.lab.words import number

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
    ("samples", "answer", "words", "slack"),
    [
        ([0.5, 1.0], "yes", "at most 1", "a factor 1"),
        ([0.5, 1.0 + 1e-15], "no", "at most 1.01", "missed by a factor 1.01"),
        (0.25, "yes", "at most 0.25", "a factor 4"),
        ([[0.5], [2.0]], "no", "at most 2", "missed by a factor 2"),
        (
            by_seed([0.25, 0.75]), "yes", "at most 0.75, the worst of 2 seeds, 0.5 on average",
            "a factor 1.33",
        ),
        (by_seed([0.25]), "yes", "at most 0.25", "a factor 4"),
        (
            by_seed([3.0, 3.0]), "no", "at most 3, the worst of 2 seeds, 3 on average",
            "missed by a factor 3",
        ),
        (
            over([[0.5, 1, 0, 0], [2, 0, 0, 0]]), "no",
            "at most 2, the worst of 2 seeds, 1.5 on average", "missed by a factor 2",
        ),
        ([-0.5, -2.0], "yes", "at most -0.5", "1.5 in value"),
        ([0.5, NAN], "unclear", "at most nan", ""),
        ([2.0, NAN], "unclear", "at most nan", ""),
        (
            by_seed([0.5, NAN]), "unclear", "at most nan, the worst of 2 seeds, nan on average",
            "",
        ),
        (over(np.full((1, 4), NAN)), "unclear", "at most nan", ""),
        ([INF], "no", "at most inf", ""),
        ([], "unclear", "nothing was measured", ""),
        (by_seed([]), "unclear", "nothing was measured", ""),
        (over(np.zeros((0, 4))), "unclear", "nothing was measured", ""),
    ],
)  # fmt: skip
def test_at_most(samples, answer, words, slack):
    found = at_most("share", samples)
    assert found == Check(answer, "share", words, "at most 1", slack)
    mirrored = -np.asarray(samples) if not isinstance(samples, xr.DataArray) else -samples
    assert at_least("share", mirrored, -1).answer == answer


@pytest.mark.parametrize(
    ("samples", "answer", "words", "slack"),
    [
        ([2.0, 3.0], "yes", "at least 2", "a factor 1"),
        ([1.999, 3.0], "no", "at least 1.99", "missed by a factor 1.01"),
        ([8.0, 5.0], "yes", "at least 5", "a factor 2.5"),
        (
            over([[5, 4, 3, 9], [6, 5, 4, 9]]), "yes",
            "at least 3, the worst of 2 seeds, 3.5 on average", "a factor 1.5",
        ),
        ([-1.0], "no", "at least -1", "missed by 3 in value"),
        ([NAN], "unclear", "at least nan", ""),
        ([-INF], "no", "at least -inf", ""),
        ([], "unclear", "nothing was measured", ""),
    ],
)  # fmt: skip
def test_at_least(samples, answer, words, slack):
    assert at_least("rate", samples, 2) == Check(answer, "rate", words, "at least 2", slack)


@pytest.mark.parametrize("share", [0.999, 1.001])
@pytest.mark.parametrize("samples", [[0.2, 0.4], by_seed([0.3, 0.05]), 0.7])
def test_a_claim_wrong_by_its_slack_passes_and_by_more_does_not(samples, share):
    """The slack is told rounded, so a thousandth decides."""
    slack = 1 / float(np.max(samples))
    assert at_most("it", samples).slack == f"a factor {number(slack, '.3g', 'down')}"
    wrong = share * slack * np.asarray(samples)
    assert at_most("it", wrong).answer == ("yes" if share < 1 else "no")


def test_slacks_are_rounded_to_the_side_on_which_they_are_true():
    assert slack_factor(2, 3) == "missed by a factor 1.5"
    assert slack_factor(1, 1.0001) == "missed by a factor 1.01"
    assert slack_factor(1.999, 1) == "a factor 1.99"
    assert slack_factor(0, -0.129) == "0.12 in value"
    assert slack_factor(-1, 0.001) == "missed by 1.1 in value"
    assert slack_factor(1, 0) == "1 in value"
    assert slack_factor(INF, 1) == slack_factor(1, NAN) == ""


def test_a_bound_that_is_no_number_is_not_kept_to():
    assert at_most("share", [0.5], NAN).answer == "unclear"
    assert at_least("share", [0.5], NAN).answer == "unclear"
    assert identity("sides", [0.5], NAN).answer == "unclear"


def test_numbers_have_the_form_asked_for_and_extremes_are_not_rounded_inwards():
    found = at_most("share", [0.123412], 0.5, ".4f")
    assert (found.measured, found.tolerance) == ("at most 0.1235", "at most 0.5000")
    found = at_least("share", [0.9499], 0.5, ".2f")
    assert (found.measured, found.tolerance) == ("at least 0.94", "at least 0.50")
    assert at_most("share", [2.5e-14], 1e-12, ".0e").measured == r"at most $3\times10^{-14}$"


@pytest.mark.parametrize(
    ("gaps", "answer", "words", "slack"),
    [
        ([0.0, 1e-13, -1e-13], "yes", "apart by at most $1.0\\times10^{-13}$", "a factor 10"),
        ([1e-12], "yes", "apart by at most $1.0\\times10^{-12}$", "a factor 1"),
        (
            [1e-13, -2e-12], "no", "apart by at most $2.0\\times10^{-12}$",
            "missed by a factor 2",
        ),
        (by_seed([0.0, 0.0]), "yes", "apart by at most 0", "$10^{-12}$ in value"),
        ([0.0, NAN], "unclear", "apart by at most nan", ""),
        ([INF], "no", "apart by at most inf", ""),
        ([], "unclear", "nothing was compared", ""),
    ],
)  # fmt: skip
def test_identity(gaps, answer, words, slack):
    found = identity("sides", gaps, 1e-12, "64 eps")
    asked = "at most $10^{-12}$, which is 64 eps"
    assert found == Check(answer, "sides", words, asked, slack, kind="identity")


@pytest.mark.parametrize(
    ("flags", "answer", "words"),
    [
        ([True, True], "yes", "true in all 2"),
        (True, "yes", "true"),
        ([True, False, False], "no", "not true in 2 of 3"),
        (by_seed([1, 1]), "yes", "true in all 2"),
        (by_seed([1, 0]), "no", "not true in 1 of 2"),
        ([1.0, NAN], "unclear", "not known in 1 of 2"),
        ([0.0, NAN], "unclear", "not known in 1 of 2"),
        ([], "unclear", "not known in any case, as there is none"),
    ],
)
def test_true(flags, answer, words):
    asked = "true in every case"
    assert true("positive", flags) == Check(answer, "positive", words, asked, kind="fact")


def test_true_may_say_what_is_measured_otherwise():
    assert true("positive", [False], "negative at n = 3").measured == "negative at n = 3"
    assert true("positive", [True], "negative at n = 3").measured == "true"


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
    assert found.what == "drift"
    assert found.measured == "6 (4 to 8 over 2 seeds) at 10, 1 (1 to 1 over 2 seeds) at 640"
    assert found.slack == "the least fall of all is 1"
    rising = falls("drift", over([[4, 3, 2, 1]], SIZES[::-1]), "width")
    assert (rising.measured, rising.slack) == ("1 at 10, 4 at 640", "")


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
    assert found.tolerance == "-0.5 within 0.1, with all of the interval"
    assert found.what == "exponent of drift in m"
    found = exponent_at_most("drift in m", samples, -0.5, 0.1)
    assert found.answer == most
    assert found.tolerance == "at most -0.5, within 0.1, with all of the interval"


def test_an_exponent_is_told_with_its_interval():
    found = exponent_near("drift in n", power(2.0).rename(width="n"), 2, 0.1, along="n")
    assert (found.what, found.measured) == ("exponent of drift in n", "2.000 (2.000 to 2.000)")
    assert exponent_near("it", power(2.0), NAN, 0.1).answer == "unclear"
    assert exponent_at_most("it", power(2.0), 2, NAN).answer == "unclear"


def test_an_exponent_tells_which_claims_would_pass():
    near = exponent_near("it", power(-0.52), -0.5, 0.1)
    assert near.slack == "claimed exponents of -0.62 to -0.42 would pass"
    assert exponent_near("it", power(-0.52), -0.61, 0.1).answer == "yes"
    assert exponent_near("it", power(-0.52), -0.63, 0.1).answer == "no"
    most = exponent_at_most("it", power(-0.52), -0.5, 0.1)
    assert most.slack == "claimed exponents of -0.62 and more would pass"
    assert exponent_near("it", power(-0.5, 3.0), -0.5, 0.1).slack == ""  # none would
    unknown = exponent_near("it", power(-0.5, sizes=[10, 20]), -0.5, 0.1)
    assert unknown.measured == "not known, for want of sizes or positive numbers"
    assert unknown.slack == ""


def test_a_level_that_differs_from_seed_to_seed_blurs_no_exponent():
    """Data drawn with a seed are the same at all widths, and may move all its samples alike."""
    levels = np.exp(np.array([-2.0, 0.5, 0.0, 1.0, 0.5]))[:, None]
    for exponent, answer in ((-0.5, "yes"), (-0.2, "no")):
        samples = power(exponent, 0.05) * levels
        assert exponent_near("it", samples, -0.5, 0.1).answer == answer


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
    found = equal("square", [1 + 3 / 128, 1.0], [1 / 128, 1 / 128], 1.0, 0.2)
    assert found.what == "square"
    assert found.measured == (
        "off by at most 3.0 standard errors; measured over claimed 1.012 on average"
    )
    assert found.slack == "a value off by 5.47% could pass"
    unknown = equal("square", NAN, 1, 1, 0.2)
    assert (unknown.measured, unknown.slack) == ("not every mean and target is a number", "")
    assert equal("square", 1.05, 0.01, 1.0, 0.2).slack == ""


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
    assert (found.what, found.measured) == ("it", f"in {good} of {of}")
    assert probability_at_least("it", by_seed(flags), least).answer == answer
    assert found.tolerance == f"a probability of at least {least:g}, with 95% confidence"
    assert bool(found.slack) == (answer == "yes")


def test_a_probability_tells_up_to_which_it_would_pass():
    found = probability_at_least("it", [True] * 40, 0.9)
    assert found.slack == "probabilities up to 0.92 would pass"
    assert probability_at_least("it", [True] * 40, 0.92).answer == "yes"
    assert probability_at_least("it", [True] * 40, 0.93).answer == "unclear"


def test_trials_that_are_not_known_or_not_there_say_nothing():
    assert probability_at_least("it", [1.0] * 100 + [NAN], 0.9).measured == "not known in 1 of 101"
    assert probability_at_least("it", [1.0] * 100 + [NAN], 0.9).answer == "unclear"
    assert probability_at_least("it", [], 0.9).answer == "unclear"


YES, NO, UNCLEAR = (
    Check(answer, "it", f"was {answer}", "1", "2") for answer in ("yes", "no", "unclear")
)
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
    assert sentence(YES, UNCLEAR) == "The measurement cannot tell: it, was unclear."
    assert sentence(UNCLEAR, unclear="Nobody knows.") == "Nobody knows."
    assert sentence(YES, **unmet) == "It holds, but the width is 10 and 1000 is needed."
    assert sentence(NO, **unmet) == (
        "The conclusion was not seen, of which nothing follows: the width is 10 and 1000 is needed."
    )
    assert sentence(anyway(NO), **unmet) == "It fails."
    assert sentence(UNCLEAR, **unmet) == "The measurement cannot tell: it, was unclear."


def test_a_verdict_carries_all_words_and_each_tolerance_once():
    other = Check("yes", "other", "was seen", "2")
    found = claim("a-thm1", "so much", YES, other, anyway(YES), **WORDS)
    assert found.claim == "a-thm1"
    assert found.predicted == "so much"
    assert found.checks == (YES, other, anyway(YES))
    assert found.measured == "it: was yes; other: was seen; it: was yes"
    assert found.tolerance == "1; 2"
    assert found.slack == "2"
    assert found.control is None


def test_a_note_asks_for_nothing():
    found = claim("a-thm1", "so", YES, note("There were 3."), **WORDS)
    assert found.outcome == "holds"
    assert (found.measured, found.tolerance) == ("it: was yes; There were 3.", "1")
    assert claim("a-thm1", "so", UNCLEAR, note("There were 3."), **WORDS).outcome == "inconclusive"


def test_a_claim_without_a_check_does_not_hold():
    with pytest.raises(ValueError, match="the claim a-thm1 is given no check"):
        claim("a-thm1", "so", **WORDS)


def test_a_check_that_stands_anyway_is_otherwise_the_same():
    assert anyway(NO) == Check("no", NO.what, NO.measured, NO.tolerance, NO.slack, anyway=True)


def test_slack_of_means_of_different_sizes_is_each_one_s_own():
    """0.04 is known to 10 %, and 1 to 1 %: no value off by 40 % of anything could pass."""
    slack = equal("share", [0.04, 1.0], [0.001, 0.0025], [0.04, 1.0], 0.2).slack
    assert slack.startswith("a value off by 10.")


def test_every_question_says_of_what_kind_it_is():
    law = xr.DataArray([[1.0, 0.5, 0.25]], dims=("seed", "width"), coords={"width": [1, 2, 4]})
    asked = {
        "bound": [at_most("", [1.0]), at_least("", [1.0], 0.0)],
        "identity": [identity("", [0.0], 1e-9), anyway(identity("", [0.0], 1e-9))],
        "fact": [true("", [True])],
        "trend": [falls("", law, "width")],
        "exponent": [exponent_near("", law, -1, 0.1), exponent_at_most("", law, -1, 0.1)],
        "limit": [vanishes("", law, "width", 1.0, "1/m")],
        "mean": [equal("", [1.0], [0.1], [1.0], 0.1)],
        "probability": [probability_at_least("", [True], 0.5)],
        "note": [note("By the way")],
    }
    for kind, checks in asked.items():
        assert {check.kind for check in checks} == {kind}
    everything = [check for checks in asked.values() for check in checks]
    told = claim("du2019-thm4.1", "", *everything, holds="", fails="").evidence
    assert told == [kind for kind in asked if kind != "note"]
