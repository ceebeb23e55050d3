"""A whole configuration: sections, the rules that hold between them, its stages and its digest."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from jobs.config.datasets import ROOMS, Data, Prepared
from jobs.config.evaluations import Evaluate, Evaluation, Suite
from jobs.config.places import Place, Uri
from jobs.config.sections import Backbone, Cluster, Limits, Pretrain, Tracking, Weighting
from jobs.config.strict import Count, Strict
from jobs.config.sweep import BASELINE, FIXED, Sweep, samples, setting, unknown_field

STAGES = ("prepare", "pretrain", "evaluate", "register")
SWEEP_STAGES = ("prepare", "sweep")
WITH_NEIGHBOURS = ("dgcnn", "dgcnn_partseg", "dgcnn_semseg", "rpc")  # backbones on a graph of k nearest neighbours
WITH_PARTS = ("shapenetpart", "synthetic")  # kinds of datasets whose points have parts
UNKNOWN = 2**31  # points that a prepared dataset stores: its manifest is read later
RPC_POINTS = 256  # points that rpc groups as sharp, and as gentle


class Pipeline(Strict):
    """Raw shapes to a registered encoder: prepare, pretrain, evaluate, register, and the further evaluations.

    With a sweep section: prepare and sweep. With a suite section: prepare and the evaluations, of an encoder that there is.
    """

    name: str = Field(default="pipeline", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")  # names the runs; letters, digits, - and _
    seed: int = Field(default=0, ge=0, lt=2**31)  # of every draw of training and evaluation
    data: Data  # what is pretrained on, and judged on unless probe says otherwise
    probe: Data | None = None  # the labelled dataset of the linear SVM, when it is another one
    pretrain: Pretrain = Pretrain()
    evaluate: Evaluate = Evaluate()
    evaluations: Annotated[tuple[Evaluation, ...], Field(strict=False, max_length=64)] = ()  # each a stage after the registration
    evaluations_at_once: Count = 1  # of them, as jobs beside each other; a driver holds some 0.6 GB
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()
    limits: Limits = Limits()
    candidate: bool = True  # the registered version gets the alias `candidate`; false: it stays where it is
    promote: bool = False  # once all has succeeded, the registered version becomes champion where the service's written rule allows it
    sweep: Sweep | None = None  # search the weighting of the losses instead of training once (`adacrossnet sweep`)
    suite: Suite | None = None  # judge this encoder instead of training one (`adacrossnet evaluate --task suite`)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages, in order; each is the job module of its name, up to the first hyphen."""
        if self.sweep is not None:
            return SWEEP_STAGES
        return (*(STAGES if self.suite is None else STAGES[:1]), *self.evaluation_stages)

    @property
    def evaluation_stages(self) -> dict[str, Evaluation]:
        """The further evaluations by their stages: the task's name, with a number from its second one on."""
        found: dict[str, Evaluation] = {}
        for one in self.evaluations:
            before = sum(other.task == one.task for other in found.values())
            found[one.task if not before else f"{one.task}-{before + 1}"] = one
        return found

    @property
    def datasets(self) -> dict[str, Data]:
        """Every dataset that is prepared first, by what it is for."""
        of_evaluations = {stage: one.data for stage, one in self.evaluation_stages.items() if one.data is not None}
        if self.suite is not None and len(of_evaluations) == len(self.evaluations):  # then nothing is judged on the others
            return of_evaluations
        return {"data": self.data, **({"probe": self.probe} if self.probe is not None else {}), **of_evaluations}

    def data_of(self, evaluation: Evaluation) -> Data:
        """What it is judged on."""
        return evaluation.data if evaluation.data is not None else self.probe_data

    def points_of(self, evaluation: Evaluation, stored: int) -> int:
        """Points a cloud that an evaluation's encoder sees, of a dataset that stores so many."""
        return evaluation.points or (stored if evaluation.task == "scenes" else self.evaluate.points)

    @model_validator(mode="after")
    def _consistent(self) -> Pipeline:
        if self.suite is None:
            self._check_pretraining()
        self._check_evaluations()
        self._check_drivers()
        self._check_promotion()
        if self.sweep is not None:
            if self.evaluations:
                raise ValueError("a sweep has no further evaluations: drop them, and judge what it registers (adacrossnet evaluate)")
            _check_sweep(self.sweep, self)
        return self

    def _check_pretraining(self) -> None:
        pretrain = self.pretrain
        fewest = min(pretrain.points, self.evaluate.points)
        if pretrain.backbone.name in WITH_NEIGHBOURS and pretrain.backbone.k > fewest:
            raise ValueError(
                f"pretrain.backbone.k is {pretrain.backbone.k}, more than the points of a cloud "
                f"(pretrain.points {pretrain.points}, evaluate.points {self.evaluate.points}): lower k or raise the points"
            )
        if pretrain.backbone.name == "rpc" and fewest < RPC_POINTS:
            raise ValueError(
                f"rpc groups {RPC_POINTS} sharp and {RPC_POINTS} gentle points of a cloud (pretrain.points {pretrain.points}, "
                f"evaluate.points {self.evaluate.points}): raise both to at least {RPC_POINTS}, or choose another backbone"
            )
        if pretrain.batch < self.cluster.most:
            field = "cluster.workers.max" if self.cluster.elastic else "cluster.workers"
            raise ValueError(
                f"pretrain.batch is {pretrain.batch} for {self.cluster.workers_said}: each needs at least one shape of "
                f"every batch; raise pretrain.batch or lower {field}"
            )
        for field, asked, section in (
            ("pretrain.points", pretrain.points, self.data),
            ("evaluate.points", self.evaluate.points, self.probe_data),
        ):
            stored = getattr(section, "points", asked)
            if asked > stored:
                raise ValueError(f"{field} is {asked}, but its dataset stores {stored} points a shape: lower {field} or raise points")
        for field, given in (("data", self.data), ("probe", self.probe_data)):
            if given.kind in ROOMS:
                raise ValueError(f"{field} is {given.kind}, blocks of rooms: pretraining and the linear SVM take datasets of shapes")
        if getattr(self.data, "views", 1) == 0:
            raise ValueError("data.views is 0, but the cross-modal loss needs rendered views: ask for at least 1")

    def _check_promotion(self) -> None:
        if self.promote and "register" not in self.stages:
            raise ValueError("promote is true, but this pipeline registers no version: drop it, and use `adacrossnet models promote`")

    def _check_drivers(self) -> None:
        for stage in self.cluster.drivers:
            if stage not in self.stages:
                raise ValueError(f"cluster.drivers: this pipeline has no stage {stage!r}, but {', '.join(self.stages)}")
        if self.cluster.accelerator_type is not None and not self.cluster.gpus_per_worker:
            raise ValueError("cluster.accelerator_type is of the workers' GPUs, and cluster.gpus_per_worker is 0: set that too, or drop it")

    def _check_evaluations(self) -> None:
        before: list[tuple[str, Evaluation, Data]] = []
        for stage, one in self.evaluation_stages.items():
            section = self.data_of(one)
            stored = int(getattr(section, "points", UNKNOWN))
            asked = self.points_of(one, stored)
            if asked > stored:
                raise ValueError(f"{stage} takes {asked} points, but its dataset stores {stored} a shape: lower points or raise those")
            _check_data(stage, one, section)
            twin = next((name for name, other, data in before if (other.task, data) == (one.task, section)), None)
            if one.task == "svm" and self.suite is None and section == self.probe_data:
                twin = "evaluate"
            if twin is not None:
                raise ValueError(f"{stage} is the task of {twin} on the same dataset, and would replace its scores: drop one of them")
            before.append((stage, one, section))
            if self.suite is None:
                check_encoder(stage, one, self.pretrain.backbone, asked)
        if self.suite is not None:
            if self.sweep is not None:
                raise ValueError("suite judges an encoder that there is, sweep trains many: drop one of them")
            if not self.evaluations:
                raise ValueError("suite without evaluations: list the tasks that judge the encoder")

    def resolved(self, base: Path) -> Pipeline:
        """The same config with absolute paths (relative ones start at `base`) and every default target filled in."""
        storage = _absolute(self.cluster.storage, base)
        cache = self.cluster.cache
        cluster = self.cluster.model_copy(update={"storage": storage, "cache": None if cache is None else _absolute(cache, base)})
        update: dict[str, object] = {"cluster": cluster, "data": _resolved_data(self.data, base, storage)}
        if self.probe is not None:
            update["probe"] = _resolved_data(self.probe, base, storage)
        if self.suite is not None and (base / self.suite.model).exists():
            update["suite"] = self.suite.model_copy(update={"model": str(_absolute(Path(self.suite.model), base))})
        update["evaluations"] = tuple(
            one.model_copy(update={"data": _resolved_data(one.data, base, storage)}) if one.data is not None else one
            for one in self.evaluations
        )
        return self.model_copy(update=update)

    @property
    def probe_data(self) -> Data:
        """The dataset that the linear SVM is trained and judged on."""
        return self.probe if self.probe is not None else self.data

    def to_json(self) -> str:
        """One line of JSON that `Pipeline.model_validate_json` reads back equal."""
        return self.model_dump_json()

    def digest(self) -> str:
        """16 hex digits that change when any value changes."""
        return digest_of(json.loads(self.to_json()))


def _check_data(stage: str, one: Evaluation, section: Data) -> None:
    """ValueError for a dataset that has not what an evaluation needs, said before hours of pretraining."""
    if one.task == "scenes":
        if section.kind not in (*ROOMS, "prepared"):
            raise ValueError(f"{stage}: {section.kind} holds shapes, not rooms: name {' or '.join(ROOMS)} as its data, or prepared ones")
    elif section.kind in ROOMS:
        raise ValueError(f"{stage}: {section.kind} holds rooms, not shapes: name a dataset of shapes as its data")
    if one.task == "parts" and section.kind not in (*WITH_PARTS, "prepared"):
        raise ValueError(f"{stage}: {section.kind} has no parts: name {' or '.join(WITH_PARTS)} as its data, or prepared ones")


def check_encoder(stage: str, one: Evaluation, backbone: Backbone, points: int) -> None:
    """ValueError for an encoder that can never serve an evaluation with so many points a cloud."""
    if one.task == "scenes" and one.channels == 9 and backbone.name != "dgcnn_semseg":
        raise ValueError(f"{stage}: channels 9 needs the backbone dgcnn_semseg, not {backbone.name}: set channels to 3")
    if one.task in ("parts", "scenes") and backbone.name == "rpc":
        raise ValueError(f"{stage}: rpc has no features of single points, which segmentation needs: choose another backbone")
    fewest = RPC_POINTS if backbone.name == "rpc" else backbone.k if backbone.name in WITH_NEIGHBOURS else 1
    if points < fewest:
        raise ValueError(f"{stage} takes {points} points a cloud, and {backbone.name} needs {fewest}: raise its points")


def _check_sweep(sweep: Sweep, pipeline: Pipeline) -> None:
    """ValueError for a searched field that is none, a value that no training takes, or a schedule of trials that cannot be."""
    search, pretrain = sweep.search, pipeline.pretrain
    sections = {get_args(one.model_fields["name"].annotation)[0]: one for one in get_args(get_args(Weighting)[0])}
    for key in search.shared:
        _searched(key, pretrain)
    unknown = [name for name in search.strategies if name not in sections]
    if unknown:
        raise ValueError(f"sweep.search.strategies: {unknown_field(unknown[0], list(sections))}")
    if BASELINE not in search.strategies:
        raise ValueError(f"sweep.search.strategies needs {BASELINE}: it is the baseline that the others are compared with")
    for strategy, space in search.strategies.items():
        known = sorted(set(sections[strategy].model_fields) - FIXED)
        for key in space:
            if key not in known:
                raise ValueError(f"sweep.search.strategies.{strategy}: {unknown_field(key, known)}")
        for values in samples(sweep, strategy):
            try:
                Pretrain.model_validate(setting(pretrain.model_dump(), strategy, values, sweep))
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(map(str, fault["loc"]))
                raise ValueError(f"sweep.search: {strategy} with {values} is impossible: {where}: {fault['msg']}") from None
    if pretrain.paper_compat is not None:
        raise ValueError("pretrain.paper_compat fixes what a sweep searches: drop one of them")
    if search.grace_epochs < pretrain.validate_every:
        raise ValueError(
            f"sweep.search.grace_epochs is {search.grace_epochs}, before the first validation (pretrain.validate_every "
            f"{pretrain.validate_every}): a trial would never report its score in time; raise it or validate more often"
        )
    if search.scheduler != "none" and search.grace_epochs >= pretrain.epochs:
        raise ValueError(
            f"sweep.search.grace_epochs is {search.grace_epochs} of pretrain.epochs {pretrain.epochs}: no trial could be stopped before "
            "its end; lower it, or set sweep.search.scheduler to none"
        )
    if pipeline.cluster.elastic:  # trials run side by side: one that grows would take the room of the others
        raise ValueError("a sweep takes a fixed number of workers a trial: set cluster.workers to a number, without min and max")
    if search.scheduler == "pbt" and pipeline.cluster.most > 1:
        raise ValueError("sweep.search.scheduler pbt takes one worker a trial: set cluster.workers to 1, or choose asha")


def _searched(key: str, pretrain: Pretrain) -> None:
    section: object = pretrain
    *parents, last = key.split(".")
    for part in parents:
        section = getattr(section, part, None)
    known = sorted(type(section).model_fields) if isinstance(section, BaseModel) else []
    if key.split(".")[0] in ("weighting", "paper_compat"):
        raise ValueError(f"sweep.search.shared: {key!r} is not for all strategies: a strategy's own fields stand under strategies")
    if last not in known:
        names = [".".join([*parents, name]) for name in known]
        raise ValueError(f"sweep.search.shared: {unknown_field(key, names)}")


def digest_of(value: object) -> str:
    """16 hex digits of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _absolute(path: Path, base: Path) -> Path:
    return Path(path).expanduser() if Path(path).expanduser().is_absolute() else (base / path).resolve()


def _place(target: Place, base: Path) -> Place:
    return target if isinstance(target, Uri) else _absolute(target, base)


def _resolved_data(data: Data, base: Path, storage: Path) -> Data:
    update: dict[str, object] = {}
    for field in ("source", "table"):
        path = getattr(data, field, None)
        if path is not None:
            update[field] = _absolute(path, base)
    if data.target is not None:
        update["target"] = _place(data.target, base)
    elif not isinstance(data, Prepared):
        with_source = data.model_copy(update=update)
        key = digest_of(json.loads(with_source.model_dump_json(exclude={"target", "name"})))
        update["target"] = storage / "data" / f"{data.kind}-{key}"
    return data.model_copy(update=update)
