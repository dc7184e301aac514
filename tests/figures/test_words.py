"""Captions and alt texts say what the verdicts say, and something else if these are other ones."""

import shutil

import pytest

from companion.base.paths import BOOK
from companion.figures import draw
from companion.figures.words import said
from companion.lab import catalog
from companion.lab.reproduce import reproduce, reproduce_or_recorded
from companion.lab.results import Result, Verdict
from tests import grouping
from tests.doctoring import contradicted

# Figure -> claims on whose verdicts its caption or its alt text rests.
RESTS_ON = {
    "chen2021-fig1": {"chen2021-fig1", "chen2021-fig1-size"},
    "chen2021-fig1-budget": {"chen2021-fig1-budget"},
    "chen2021-fig1-fits": {"chen2021-fig1-fits"},
    "chen2021-first-moments": {"chen2021-model"},
    "chen2021-gradient-norms": {"chen2021-lemB.1"},
    "chen2021-largest-outputs": {"chen2021-lemA.1"},
    "chen2021-linearisation-errors": {"chen2021-lem6.1"},
    "chen2021-printed-steps": {"chen2021-algo1", "chen2021-algo2"},
    "chen2021-worst-pairs": {"chen2021-lem6.1-order"},
    "chen2021-average-loss": {"chen2021-thm3.3"},
    "chen2021-iterates-ball": {"chen2021-eq6.3"},
    "chen2021-past-horizon": {"chen2021-rem3.4"},
    "chen2021-radius": {"chen2021-ass3.2"},
    "chen2021-way-to-target": {"chen2021-lem6.2"},
    "chen2021-constructed-increment": {"chen2021-prop4.7"},
    "chen2021-direction-margins": {"chen2021-ass4.6"},
    "chen2021-least-loss": {"chen2021-def4.1"},
    "chen2021-margins": {"chen2021-ass4.3", "chen2021-ass4.3-excluded"},
    "chen2021-members-as-networks": {"chen2021-prop4.2"},
    "chen2021-radius-times-margin": {"chen2021-cor4.4"},
    "chen2021-class-distances": {"chen2021-ass4.9"},
    "chen2021-needed-radius": {"chen2021-prop4.10"},
    "chen2021-one-layer": {"chen2021-lemA.2"},
    "chen2021-table1-powers": set(),
    "chen2021-table1-slopes": {"chen2021-tab1"},
    "chen2021-widths-compared": {"chen2021-rem4.11"},
    "chen2021-held-out": {"chen2021-thm3.8-digits"},
    "chen2021-met-and-expected": {"chen2021-lem6.6"},
    "chen2021-nearing": {"chen2021-lem6.5"},
    "chen2021-one-pass": {"chen2021-thm3.8", "chen2021-rem3.9"},
    "chen2021-rise-and-fall": {"chen2021-rem3.7"},
    "chen2021-surrogate-gap": {"chen2021-lem6.4"},
    "chen2021-regime-linearisation": {"chen2021-regime-linearisation"},
    "chen2021-regime-margins": {"chen2021-regime-margin"},
    "chen2021-regime-test-error": {"chen2021-regime-test-error"},
    "chen2021-regime-widths": {"chen2021-regime-width"},
    "compare-growth": {"compare-order"},
    "compare-widths": {"compare-gap"},
    "du2019-closed-form-by-sampling": {"du2019-def-Hinf"},
    "du2019-deep-gram": {"du2019-deep-conj"},
    "du2019-digits-decay": {"du2019-digits"},
    "du2019-digits-spectrum": set(),
    "du2019-explicit-widths": set(),
    "du2019-first-residual": {"du2019-init-misfit"},
    "du2019-fig1-expl": {"du2019-fig1-expl"},
    "du2019-fig1a": {"du2019-fig1a", "du2019-fig1a-stated"},
    "du2019-fig1b": {"du2019-fig1b"},
    "du2019-fig1c": {"du2019-fig1c"},
    "du2019-gradient-differences": {"du2019-eq1-4"},
    "du2019-gradient-flow": {"du2019-thm3.2", "du2019-rem3.1b"},
    "du2019-gram-at-initialization": {"du2019-rem3.1a"},
    "du2019-gram-stability": {"du2019-lem3.2", "du2019-lem3.2-order"},
    "du2019-inside-the-regime": {"du2019-width-explicit"},
    "du2019-joint-training": {
        "du2019-thm3.3",
        "du2019-lemA.4-5-order",
        "du2019-lemA.5-frozen",
    },
    "du2019-least-eigenvalue-by-count": {"du2019-ass3.1"},
    "du2019-least-eigenvalue-of-near-parallels": {
        "du2019-thm3.1-rate",
        "du2019-thm3.1-antipodes",
    },
    "du2019-near-boundary": {"du2019-lem3.2-prob", "du2019-lem4.1"},
    "du2019-parameter-balls": {"du2019-lemA.3"},
    "du2019-linear-rate": {"du2019-thm4.1", "du2019-cond4.1"},
    "du2019-one-unit": set(),
    "du2019-output-layer": {"du2019-fn-outputlayer-fit", "du2019-fn-outputlayer-function"},
    "du2019-proof-budget": {"du2019-decomp", "du2019-decomp-net"},
    "du2019-recursion-without-flips": {"du2019-algo-gd", "du2019-algo-gd-flips"},
    "du2019-sliding-units": {"du2019-eq5-7", "du2019-fn-inclusion"},
    "du2019-step-size": {"du2019-thm4.1-eta"},
    "du2019-unit-distances": {"du2019-cor4.1", "du2019-cor4.1-exponent"},
    "engines-benchmark": set(),
    "engines-benchmark-avx2": set(),
    "engines-benchmark-busy": set(),
    "engines-precision": {"engines-float32", "engines-bfloat16"},
    "engines-predictions": {"engines-predicted"},
    "engines-test-errors": {"engines-regression"},
    "zou2018-descent": {"zou2018-lem5.4-5"},
    "zou2018-first-outputs": {"zou2018-thm5.1iii", "zou2018-thm5.1iv"},
    "zou2018-gaussian-excess": {"zou2018-lemA.3-sharp"},
    "zou2018-gradient-differences": {"zou2018-model"},
    "zou2018-gradient-nodes": {"zou2018-thm5.1viii"},
    "zou2018-gradient-probability": {"zou2018-lemA.14"},
    "zou2018-gradient-range": {"zou2018-thm5.3vii", "zou2018-thm5.3viii"},
    "zou2018-inner-products": {"zou2018-lemA.11-13", "zou2018-lemA.13-opposites"},
    "zou2018-iterations": {"zou2018-rem4.2"},
    "zou2018-layer-lengths": {"zou2018-lemA.1-2", "zou2018-thm5.1i"},
    "zou2018-least-gradient": {"zou2018-thm5.3vii"},
    "zou2018-loss-decay": {"zou2018-thm4.1"},
    "zou2018-loss-derivatives": {"zou2018-ass3.3L", "zou2018-ass3.3S"},
    "zou2018-losses": {"zou2018-ass3.2", "zou2018-ass4.4"},
    "zou2018-masked-products": {"zou2018-thm5.1v-limit", "zou2018-thm5.1vi-vii"},
    "zou2018-minibatch-variance": {"zou2018-lemD.2-exact"},
    "zou2018-one-layer-flips": {"zou2018-thm5.3iii-order"},
    "zou2018-perturbed-flips": {"zou2018-thm5.3iii"},
    "zou2018-perturbed-outputs": {"zou2018-lemB.1-4", "zou2018-thm5.3ii"},
    "zou2018-polynomials": {"zou2018-thm4.1-poly"},
    "zou2018-separation-kept": {"zou2018-thm5.1ii-depth"},
    "zou2018-separations": {"zou2018-ass3.5"},
    "zou2018-sgd": {"zou2018-thm4.5"},
    "zou2018-sgd-and-descent": {"zou2018-cor4.6"},
    "zou2018-sgd-distance": {"zou2018-lem5.6-7"},
    "zou2018-slopes-and-errors": {"zou2018-cor4.3", "zou2018-rem-v1-4.3"},
    "zou2018-small-steps": {"zou2018-algo-gd"},
    "zou2018-tangent-of-a-power": {"zou2018-lemC.1"},
    "zou2020-comparison": {"zou2020-rem4.2"},
    "zou2020-convergence": {"zou2020-thm4.4", "zou2020-rem4.1"},
    "zou2020-cross-entropy-floor": {"zou2020-ce-ineq-sharp"},
    "zou2020-first-loss": {"zou2020-lem5.1"},
    "zou2020-flips-near-start": {"zou2020-lemA.4-path"},
    "zou2020-gradient-quotients": {"zou2020-lem5.2a", "zou2020-lem5.2b"},
    "zou2020-half-descent": {"zou2020-eq5.1"},
    "zou2020-largest-step": set(),
    "zou2020-nearest": {"zou2020-ass4.2"},
    "zou2020-fig1": {"zou2020-fig1"},
    "zou2020-fig2": {"zou2020-fig2", "zou2020-fig2-iteration"},
    "zou2020-fig3": {"zou2020-fig3", "zou2020-fig3-iteration"},
    "zou2020-fig23-layers": set(),
    "zou2020-fig1-cifar10": {"zou2020-fig1-cifar10"},
    "zou2020-fig2-cifar10": {"zou2020-fig2-cifar10", "zou2020-fig2-iteration-cifar10"},
    "zou2020-fig3-cifar10": {"zou2020-fig3-cifar10", "zou2020-fig3-iteration-cifar10"},
    "zou2020-fig23-layers-cifar10": set(),
    "zou2020-path-bound": {"zou2020-traj"},
    "zou2020-product-norms": {"zou2020-lemA.3"},
    "zou2020-spectral-ball": {"zou2020-setting"},
    "zou2020-sufficient-descent": {"zou2020-lem5.3"},
    "zou2020-telescoping": {"zou2020-identity", "zou2020-identity-mended"},
    "zou2020-unequal-widths": {"zou2020-ass4.3"},
}


def judged(**outcomes: str) -> Result:
    verdicts = (Verdict(c, o, "", f"{c} is {o}.", ()) for c, o in outcomes.items())  # type: ignore[arg-type]
    return Result("", {}, {}, {}, "", verdicts=tuple(verdicts))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("holds", "It is seen."),
        ("outside-regime", "It is seen."),
        ("fails", "a is fails."),
        ("inconclusive", "a is inconclusive."),
    ],
)
def test_a_sentence_is_said_only_if_the_verdict_bears_it_out(outcome: str, words: str) -> None:
    assert said(judged(a=outcome), "It is seen.", "a") == words


def test_a_sentence_may_rest_on_a_claim_that_fails() -> None:
    assert said(judged(a="fails"), "It is not so.", "a", outcomes=("fails",)) == "It is not so."
    assert said(judged(a="holds"), "It is not so.", "a", outcomes=("fails",)) == "a is holds."


def test_a_sentence_on_two_claims_needs_both() -> None:
    assert said(judged(a="holds", b="holds"), "Both.", "a", "b") == "Both."
    assert said(judged(a="holds", b="fails"), "Both.", "a", "b") == "b is fails."


def test_nothing_is_said_of_a_claim_without_a_verdict() -> None:
    with pytest.raises(KeyError):
        said(judged(a="holds"), "It is seen.", "b")


@pytest.mark.slow
@pytest.mark.parametrize("identifier", grouping.figures())
def test_words_change_with_the_verdicts_that_they_rest_on(identifier: str) -> None:
    result = reproduce_or_recorded(catalog.figures()[identifier])
    true = draw(identifier, result)
    changing = set()
    for verdict in result.verdicts:
        false = draw(identifier, contradicted(result, verdict.claim))
        if (false.caption, false.alt) != (true.caption, true.alt):
            changing.add(verdict.claim)
            assert f"{verdict.claim} is doctored." in false.caption + false.alt
        assert false.table == true.table
    assert changing == RESTS_ON[identifier]


def test_a_condition_that_was_not_measured_is_said(tmp_path):
    """A benchmark of one's own is of one condition; the figures of the others are empty."""
    shutil.copy(BOOK / "benchmarks" / "two_cores_busy.json", tmp_path / "mine.json")
    mine = reproduce("engines/speed", file=tmp_path / "mine.json")
    assert "Nothing was measured" in draw("engines-benchmark", mine).caption
    assert "Nothing was measured" in draw("engines-benchmark-avx2", mine).caption
    assert "Full circles" in draw("engines-benchmark-busy", mine).caption
