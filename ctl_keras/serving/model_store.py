"""The versions of one model: found below its base path, loaded, warmed up, swapped and dropped
while requests run.

The default policy of TensorFlow Serving: the newest version is served, and the old one goes only
when the new one answers.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ctl_keras.errors import InputError
from ctl_keras.serving.loaded_version import LoadedVersion
from ctl_keras.serving.refused_error import RefusedError, from_tensorflow, invalid

_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class VersionState:
    """What became of a version: LOADING, AVAILABLE, UNLOADING or END; `failure` tells why it could
    not be loaded."""

    state: str
    failure: RefusedError | None = None


class ModelStore:
    """The served versions of one model. Its methods may be called from any thread.

    Args:
        folder: `saved_models/NAME`, or one version's folder.
        name: str. Defaults to NAME.
        labels: label -> version. These versions are served beside the newest one. Defaults to none.
        tell: is given a line about each version that comes, goes or fails. Defaults to nobody.

    Attributes:
        name: str.

    Raises:
        InputError: there is no version, a labelled one is missing, or the first ones cannot be
            loaded.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str | None = None,
        labels: Mapping[str, int] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ):
        self._folder, self._labels, self._tell = Path(folder).resolve(), dict(labels or {}), tell
        self._is_version = (self._folder / "saved_model.pb").is_file()
        self.name = (
            name
            or (
                self._folder.parent
                if self._is_version and self._folder.name.isdigit()
                else self._folder
            ).name
        )
        self._states: dict[int, VersionState] = {}
        self._loaded: dict[int, LoadedVersion] = {}
        self._failed: set[int] = set()
        self._users: Counter[LoadedVersion] = Counter()
        self._lock = threading.Condition()
        self._check_start()
        self.poll()
        for version, state in self._states.items():
            if state.failure:
                self.close()
                raise InputError(f"Version {version} of {folder} cannot be served: {state.failure}")

    def poll(self) -> None:
        """Looks for versions that came or went, once. Called by one thread at a time; takes as long
        as loading takes."""
        aspired = self._aspired()
        for version in sorted(aspired - set(self._loaded) - self._failed):
            self._load(version)
        with self._lock:
            # a version that failed is tried again when its folder was taken away and put back
            self._failed &= aspired
            waiting = aspired - set(self._loaded)
            leaving = set() if waiting else set(self._loaded) - aspired
        for version in leaving:
            self._unload(version)

    @contextmanager
    def use(self, spec: Any) -> Iterator[tuple[int, LoadedVersion]]:
        """The version that a `ModelSpec` asks for; it stays in memory until the block ends.

        Yields:
            Its number and the version.

        Raises:
            RefusedError: NOT_FOUND, unknown model or version. INVALID_ARGUMENT, no model is named,
                or an unknown label.
        """
        with self._lock:
            number = self._number(spec)
            version = self._loaded[number]
            self._users[version] += 1
        try:
            yield number, version
        finally:
            with self._lock:
                self._users[version] -= 1
                self._lock.notify_all()

    def states(self, spec: Any) -> dict[int, VersionState]:
        """Version -> state of all versions seen, or of the one that a `ModelSpec` names, the newest
        first.

        Raises:
            RefusedError: NOT_FOUND, unknown model or version.
        """
        with self._lock:
            states = (
                dict(sorted(self._states.items(), reverse=True)) if spec.name == self.name else {}
            )
        if spec.WhichOneof("version_choice") == "version":
            states = {
                version: state for version, state in states.items() if version == spec.version.value
            }
        if not states:
            raise RefusedError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return states

    def close(self) -> None:
        """Drops all versions; waits for the requests that use them."""
        for version in list(self._loaded):
            self._unload(version)

    def _number(self, spec: Any) -> int:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        choice, wanted = spec.WhichOneof("version_choice"), max(self._loaded, default=0)
        if choice == "version":
            wanted = spec.version.value
        if choice == "version_label":
            if spec.version_label not in self._labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            wanted = self._labels[spec.version_label]
        if spec.name != self.name or wanted not in self._loaded:
            which = f"Specific({spec.name}, {wanted})" if choice else f"Latest({spec.name})"
            raise RefusedError("NOT_FOUND", f"Servable not found for request: {which}")
        return wanted

    def _aspired(self) -> set[int]:
        if self._is_version:
            return {int(self._folder.name) if self._folder.name.isdigit() else 1}
        on_disk = _versions(self._folder)
        return {max(on_disk)} | (on_disk & set(self._labels.values())) if on_disk else set()

    def _check_start(self) -> None:
        if not self._folder.is_dir():
            raise InputError(
                f"{self._folder} is no folder; name a base path such as saved_models/looks."
            )
        aspired = self._aspired()
        if not aspired:
            raise InputError(
                f"{self._folder} holds no version. Make one with `export --run RUN --to "
                f"{self._folder}`."
            )
        for label, version in self._labels.items():
            if version not in aspired:
                raise InputError(
                    f"The label {label} is for version {version}, which {self._folder} does not "
                    "have."
                )

    def _load(self, number: int) -> None:
        self._set(number, VersionState("LOADING"))
        version = None
        try:
            version = LoadedVersion(
                self._folder if self._is_version else self._folder / str(number)
            )
            requests = version.warm_up()
        except Exception as error:
            if version is not None:
                version.close()
            failure = _failure(error)
            self._failed.add(number)
            self._set(number, VersionState("END", failure))
            self._tell(f"{self.name}: version {number} cannot be served: {failure}")
            return
        with self._lock:
            self._loaded[number] = version
            self._states[number] = VersionState("AVAILABLE")
        self._tell(f"{self.name}: version {number} is available after {requests} warm-up requests")

    def _unload(self, number: int) -> None:
        with self._lock:
            version = self._loaded.pop(number)
            self._states[number] = VersionState("UNLOADING")
            self._lock.wait_for(lambda: not self._users[version])
            del self._users[version]
        version.close()
        self._set(number, VersionState("END"))
        self._tell(f"{self.name}: version {number} is unloaded")

    def _set(self, number: int, state: VersionState) -> None:
        with self._lock:
            self._states[number] = state


def _versions(base: Path) -> set[int]:
    """Plain integers only, as TensorFlow Serving has it: no hidden folders, no zero-padding."""
    names = [path.name for path in base.iterdir() if path.is_dir()]
    return {
        int(name)
        for name in names
        if name.isascii()
        and name.isdigit()
        and str(int(name)) == name
        and int(name) <= _LARGEST_VERSION
    }


def _failure(error: Exception) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, tf.errors.OpError):
        return from_tensorflow(error)
    return RefusedError("NOT_FOUND", " ".join(str(error).split()))
