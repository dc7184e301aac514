"""Whether verdicts stay on fresh seeds: an experiment repeated, and what was counted.

A judge is written while its author looks at what some seeds gave. So an experiment is repeated with
families of seeds that nobody has looked at, and it is counted how often each verdict stays.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from companion.base.files import canonical, write_atomically
from companion.base.paths import brief
from companion.errors import ContractError, DamagedError, InputError, MissingDataError
from companion.lab import provenance
from companion.lab.catalog import expected, experiments
from companion.lab.experiment import check_device, check_memory, load, settings_of
from companion.lab.fingerprint import basis, data_identity, fingerprint_of, on_the_data_of
from companion.lab.reproduce import reproduce
from companion.lab.settings import SeededSettings, Settings, Size

# Family k begins with the seed k * STEP, which is far from what was used while judges were written.
STEP = 1_000_000
# What a family is counted under if its run or its judge was refused, say because it diverged.
NO_VERDICT = "no verdict"
# Files whose fault it is, or the machine's, and never that of the seeds.
_NOT_OF_SEEDS = (ContractError, DamagedError, MissingDataError)
# How a verdict is said, which decides none.
_WORDS = "source companion.lab.words:"

State = Literal["repeated", "before-a-change", "not-repeated", "nothing-drawn"]


class Count(BaseModel):
    """How often the verdict on a claim stayed.

    Attributes:
        outcome: the one that was expected.
        stayed: in how many families it came out.
        others: other outcomes -> the first seeds of the families that gave them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: str
    stayed: int = Field(ge=0)
    others: dict[str, tuple[int, ...]]

    @property
    def families(self) -> int:
        """How many there were."""
        return self.stayed + sum(map(len, self.others.values()))

    @property
    def is_rare(self) -> bool:
        """Whether it stayed in fewer than nine families of ten."""
        return 10 * self.stayed < 9 * self.families


class Repetition(BaseModel):
    """What came of an experiment's quick profile on fresh seeds.

    Attributes:
        identity: of what was repeated, `identity_of`.
        families: how many families of seeds.
        commit: of the code that counted, with `+changes` where sources differed from it.
        date: of the count.
        data: what was computed on.
        claims: claim -> its count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    families: Size
    commit: str
    date: str
    data: str
    claims: dict[str, Count]

    @model_validator(mode="after")
    def _all_are_counted(self) -> Self:
        for claim, count in self.claims.items():
            if count.families != self.families:
                raise ValueError(f"{claim} is counted in {count.families} of {self.families}")
        return self


@dataclass(frozen=True)
class Family:
    """What one family of seeds gave.

    Attributes:
        first_seed: of the family.
        outcomes: claim -> outcome; of no claim where there is no verdict.
        problem: why there is none, in a sentence; or nothing.
    """

    first_seed: int
    outcomes: Mapping[str, str]
    problem: str = ""


@dataclass(frozen=True)
class OnFreshSeeds:
    """How the committed counts of an experiment stand to the code of today.

    Attributes:
        state: `repeated`; `before-a-change` of code, settings or libraries; `not-repeated`; or
            `nothing-drawn`, where there are no seeds.
        claims: claim -> its count.
    """

    state: State
    claims: Mapping[str, Count] = field(default_factory=dict)


def repeat(
    name: str,
    families: int,
    profile: str = "quick",
    device: str = "cpu",
    overrides: Mapping[str, object] | None = None,
) -> Iterator[Family]:
    """Run an experiment with other families of seeds, each of which is given when it is done.

    Results are kept in the store, as any are, so that a stopped repetition goes on where it was.

    Args:
        name: of the experiment.
        families: how many.
        profile: `quick` or `paper`.
        device: `cpu` or `cuda`.
        overrides: settings to replace.

    Raises:
        InputError: fewer than one family, settings without seeds, or with more seeds than a family
            has, or `first_seed` among the overrides; or as of `reproduce`, before anything runs.
        MissingDataError: as of `reproduce`.
    """
    experiment, given = load(name), dict(overrides or {})
    settings = settings_of(experiment, profile, given)
    _check_families(name, families, settings, given)
    check_device(device)
    check_memory(name, experiment.cost(settings), device)
    basis(name, settings, device)  # refuses sources that cannot be followed
    seeds = (STEP * number for number in range(1, families + 1))
    return (_family(name, profile, device, {**given, "first_seed": seed}) for seed in seeds)


def wanted(
    name: str, profile: str, device: str, overrides: Mapping[str, object]
) -> Mapping[str, str]:
    """Claim -> the outcome that is to stay: the expected one; with settings of one's own, theirs.

    Raises:
        InputError: as of `reproduce`.
    """
    if not overrides:
        return expected(name)
    return {v.claim: v.outcome for v in reproduce(name, profile, device, **overrides).verdicts}


def counted(outcomes: Mapping[str, str], families: Sequence[Family]) -> dict[str, Count]:
    """How often each verdict stayed.

    Args:
        outcomes: claim -> the outcome that is to stay.
        families: what each of them gave.
    """
    counts = {}
    for claim, outcome in outcomes.items():
        others: dict[str, tuple[int, ...]] = {}
        for family in families:
            found = family.outcomes.get(claim, NO_VERDICT)
            if found != outcome:
                others[found] = (*others.get(found, ()), family.first_seed)
        stayed = len(families) - sum(map(len, others.values()))
        counts[claim] = Count(outcome=outcome, stayed=stayed, others=others)
    return counts


def draws_from_seeds(settings: Settings) -> bool:
    """Whether an experiment with such settings can be repeated with other draws."""
    return isinstance(settings, SeededSettings)


def identity_of(name: str) -> str:
    """What decides the verdicts of a quick profile on any seeds, in 16 hexadecimal digits.

    It is the fingerprint's basis without the first seed, and with the source of the judge and what
    is expected of it. As with records, which copy of the digits a machine has does not matter.

    Raises:
        InputError: the source cannot be followed.
    """
    parts = basis(name, load(name).QUICK, "cpu", ("run", "Settings", "judge"))
    of_any_seeds = {
        key: known
        for key, known in on_the_data_of({}, parts).items()
        if key != "setting first_seed" and not key.startswith(_WORDS)
    }
    return fingerprint_of({**of_any_seeds, "expected": canonical(expected(name))})


def counts_path() -> Path:
    """Where the committed counts are, or would be."""
    return provenance.COUNTS


def repetitions() -> dict[str, Repetition]:
    """Experiment -> the committed counts on fresh seeds.

    Raises:
        DamagedError: the file is not as this program writes it.
    """
    try:
        told = json.loads(counts_path().read_text(encoding="utf-8"))
        return {name: Repetition.model_validate(each) for name, each in told.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as problem:
        why = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else "no JSON"
        raise DamagedError(
            f"{brief(counts_path())} is not as 'companion fresh' writes it ({why}); restore it, or "
            "remove it and count again."
        ) from None


def keep(name: str, identity: str, commit: str, families: Sequence[Family]) -> Repetition:
    """Count a quick profile's verdicts and put that among the committed counts, atomically.

    Args:
        name: of the experiment.
        identity: what it was when the families were run.
        commit: of that code.
        families: what each of them gave.

    Raises:
        InputError: the file cannot be written, or is damaged; then it is left as it is.
    """
    new = Repetition(
        identity=identity,
        families=len(families),
        commit=commit,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        data=data_identity(name, load(name).QUICK),
        claims=counted(expected(name), families),
    )
    known = {**repetitions(), name: new}
    told = {each: known[each].model_dump(mode="json") for each in experiments() if each in known}
    write_atomically(counts_path(), (json.dumps(told, indent=1) + "\n").encode())
    return new


def on_fresh_seeds(name: str) -> OnFreshSeeds:
    """How the committed counts of an experiment stand to the code of today.

    Raises:
        InputError: the source cannot be followed, or the counts are damaged.
    """
    if not draws_from_seeds(load(name).QUICK):
        return OnFreshSeeds("nothing-drawn")
    known = repetitions().get(name)
    if known is None:
        return OnFreshSeeds("not-repeated")
    same = known.identity == identity_of(name)
    return OnFreshSeeds("repeated" if same else "before-a-change", known.claims)


def is_done(name: str, families: int) -> bool:
    """Whether the committed counts are of today's code, of as many families, each with verdicts."""
    known = repetitions().get(name)
    if known is None or known.families != families or known.identity != identity_of(name):
        return False
    return not any(NO_VERDICT in count.others for count in known.claims.values())


def rare(counts: Mapping[str, Count]) -> Iterable[str]:
    """The claims whose verdict stayed in fewer than nine families of ten."""
    return (claim for claim, count in counts.items() if count.is_rare)


def _check_families(
    name: str, families: int, settings: Settings, given: Mapping[str, object]
) -> None:
    if families < 1:
        raise InputError(f"{families} families of seeds were asked for; ask for at least 1.")
    if not isinstance(settings, SeededSettings):
        raise InputError(f"{name} draws nothing from seeds, so there is nothing to repeat.")
    if "first_seed" in given:
        raise InputError(
            f"first_seed is {STEP}, {2 * STEP} and so on in a repetition with fresh seeds; do not "
            "set it."
        )
    if settings.seeds >= STEP:
        raise InputError(
            f"seeds is {settings.seeds}, and families of fresh seeds lie {STEP} apart; choose "
            "fewer."
        )


def _family(name: str, profile: str, device: str, overrides: Mapping[str, object]) -> Family:
    seed = int(str(overrides["first_seed"]))
    try:
        verdicts = reproduce(name, profile, device, **overrides).verdicts
    except _NOT_OF_SEEDS:
        raise
    except InputError as problem:  # with these draws it diverges, or a quantity is not finite
        return Family(seed, {}, str(problem))
    return Family(seed, {verdict.claim: verdict.outcome for verdict in verdicts})
