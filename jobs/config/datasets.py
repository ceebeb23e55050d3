"""The datasets that a configuration can name, a class a kind. Units stand in each comment."""
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.config.places import Folder, PlaceField
from jobs.config.strict import Count, Share, Strict


class Prepared(Strict):
    """A dataset that `adacrossnet data prepare` already wrote: the prepare stage only checks it."""

    kind: Literal["prepared"]
    target: PlaceField  # the folder that holds manifest.json; also s3://bucket/path or gs://bucket/path


class Preparing(Strict):
    """What every raw dataset needs to become a prepared one."""

    # the dataset's name in metrics (svm/<name>/accuracy), such as modelnet40; none: the source folder's, or the kind
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] | None = None
    # where the prepared dataset goes, also s3://bucket/path or gs://bucket/path; none: <storage>/data/<kind>-<digest of this section>
    target: PlaceField | None = None
    points: Count = 2048  # points stored a shape; a shape with fewer is resampled, and counted
    shard_rows: Count = 64  # shapes a shard (of rooms one for every 64): the unit of work, of restart and of checksums
    seed: int = Field(default=0, ge=0)  # of every draw that preparing makes (sampling, synthetic shapes, resampling, turning)
    turned: bool = False  # each stored cloud turned about its up axis by an angle of its own, so that no pose tells its class
    val_share: Share = 0.1  # of a class's shapes, where the source has no validation split
    test_share: Share = 0.1  # of a class's shapes, where the source has no splits at all

    @model_validator(mode="after")
    def _leaves_train(self) -> Preparing:
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share {self.val_share:g} and test_share {self.test_share:g} leave nothing to train on: lower one")
        return self


class Synthetic(Preparing):
    """Parametric CAD-like objects made from the seed: everything runs with no download."""

    kind: Literal["synthetic"]
    shapes: Count = 400  # how many, spread evenly over the categories
    views: Count = 4  # rendered views a shape
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64  # pixels a side of a view


class Meshes(Preparing):
    """Any folder <class>/[<split>/]*.{off,obj,ply,stl,glb}."""

    kind: Literal["meshes"]
    source: Folder  # the folder that holds one folder a class
    views: Annotated[int, Field(ge=0)] = 4  # rendered views a shape, evenly spaced azimuths; 0: none (evaluation only)
    image_size: Annotated[int, Field(ge=16, le=1024)] = 137  # pixels a side of a view
    up: Literal["y", "z"] = "y"  # the meshes' up axis; stored clouds have y up


class ShapenetRender(Preparing):
    """ShapeNet/<synset>/<id>.ply with ShapeNetRendering/<synset>/<id>/rendering/NN.png."""

    kind: Literal["shapenet-render"]
    source: Folder  # the folder that holds ShapeNet/ and ShapeNetRendering/
    views: Count = 24  # views kept a shape, the first in name order


class ModelNet(Preparing):
    """ModelNet40, or its ten-class subset: the HDF5 release with shape_names.txt, or the .off folders."""

    kind: Literal["modelnet40", "modelnet10"]
    source: Folder  # the folder that holds ply_data_{train,test}*.h5, or one folder a class


class ScanObjectNN(Preparing):
    """ScanObjectNN's HDF5 files."""

    kind: Literal["scanobjectnn"]
    source: Folder  # the folder that holds main_split/ (and main_split_nobg/), or that folder itself
    # obj_bg: with background; obj_only: without; pb_t50_rs: moved, turned and scaled, the hardest
    variant: Literal["obj_bg", "obj_only", "pb_t50_rs"]


class ShapeNetPart(Preparing):
    """ShapeNetPart: the HDF5 release, or the text release with normals; also other shapes with parts in either form."""

    kind: Literal["shapenetpart"]
    source: Folder  # the folder that holds ply_data_{train,val,test}*.h5, or synsetoffset2category.txt
    # {"classes": [...], "parts": ["Chair/leg", ...]}; none: SOURCE/categories.json, else the release's own, else ShapeNetPart's 16 and 50
    table: Folder | None = None


class Rooms(Preparing):
    """What every dataset of rooms in six areas has."""

    test_area: Annotated[int, Field(ge=1, le=6)] = 5  # whose rooms are test; val_share of each other area's rooms are validation
    stride: Annotated[float, Field(ge=0.05, le=1)] = 0.5  # metres between the blocks of a room; 1 m blocks overlap below 1

    @model_validator(mode="after")
    def _upright(self) -> Rooms:
        if self.turned:
            raise ValueError("turned is not for rooms, whose axes mean something: leave it out")
        return self


class S3DIS(Rooms):
    """S3DIS: the HDF5 release of blocks, or raw rooms that are cut into such blocks. Six areas, of which one is held out."""

    kind: Literal["s3dis"]
    source: Folder  # the folder that holds ply_data_all_*.h5 and room_filelist.txt, or Area_*/<room>/Annotations/*.txt
    points: Count = 4096  # points stored a block


class SyntheticRooms(Rooms):
    """Made-up furnished rooms in the form of S3DIS, from the seed."""

    kind: Literal["synthetic-rooms"]
    rooms: Annotated[int, Field(ge=12)] = 24  # how many, spread evenly over six areas, two at least in each
    points: Count = 1024  # points stored a block


ROOMS = ("s3dis", "synthetic-rooms")  # kinds whose rows are blocks of rooms

Data = Annotated[
    Prepared | Synthetic | SyntheticRooms | Meshes | ShapenetRender | ModelNet | ScanObjectNN | ShapeNetPart | S3DIS,
    Field(discriminator="kind"),
]
