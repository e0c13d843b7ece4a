"""`make lint`: what docstrings have to say and ruff cannot check. Prints one line a fault; exit 1
if there is one.

Every public method has a docstring, unless Keras, Beam or a base class of ours says what it does.
For each name of `ctl_keras/__init__.pyi`, and its methods, it has each parameter, what is returned,
and that an `InputError` or `ValueError` is raised; the shapes of arrays; and, for layers, losses
and the model, the source.
"""

import ast
import re
import sys
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
HOOKS = {
    "build",
    "call",
    "compute_output_shape",
    "get_config",
    "from_config",
    "update_state",
    "expand",
    "invoke",
}
HOOKS |= {f"on_{what}_{when}" for what in ("epoch", "test", "train") for when in ("begin", "end")}
KERAS = {"self", "cls", "name", "dtype", "kwargs"}  # parameters that need no word
WITH_SOURCE = {"layers", "losses"}
ERRORS = re.compile(r"raise (?:InputError|ValueError)\b|\brequire_\w+\(")
ARRAYS = re.compile(r"tf\.Tensor|np\.ndarray")
# another docstring says it
ELSEWHERE = re.compile(r"^(Args: as|As|See) `\w+(\.\w+)?`", re.MULTILINE)


def main() -> int:
    package = griffe.load(
        "ctl_keras",
        search_paths=[str(ROOT)],
        docstring_parser="google",
        docstring_options={"warn_missing_types": False},
    )
    assert isinstance(package, griffe.Module)
    faults = [fault for module in modules(package) for fault in undocumented(module)]
    for node in ast.parse((ROOT / "ctl_keras" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            faults += [
                fault
                for alias in node.names
                for fault in incomplete(package[f"{node.module}.{alias.name}"])
            ]
    print(*dict.fromkeys(faults), sep="\n", end="\n" if faults else "")
    return bool(faults)


def modules(module: griffe.Module) -> list[griffe.Module]:
    inner = [one for one in module.members.values() if not one.is_alias and one.is_module]
    return [module, *(below for one in inner for below in modules(one))]


def undocumented(module: griffe.Module) -> list[str]:
    """Public methods without a docstring; ruff sees to classes and functions."""
    classes = [
        x for x in module.members.values() if not x.is_alias and x.is_class and x.name[0] != "_"
    ]
    return [
        f"{place(one)} has no docstring"
        for each in classes
        for one in methods(each)
        if one.docstring is None
    ]


def methods(one: griffe.Class) -> list[griffe.Function | griffe.Attribute]:
    """Public methods and properties that no base class of ours documents."""
    above = {
        name for base in one.mro() for name, member in base.members.items() if member.docstring
    }
    own = [x for x in one.members.values() if x.is_function or "property" in x.labels]
    return [x for x in own if x.name[0] != "_" and (x.docstring or x.name not in above | HOOKS)]


def incomplete(one: griffe.Class | griffe.Function) -> list[str]:
    """What the docstrings of a name of the API, and of its methods, leave out."""
    inner = [x for base in (one, *one.mro()) for x in methods(base)] if one.is_class else []
    faults = [fault for part in (one, *inner) if part.docstring for fault in gaps(part)]
    if one.module.path.split(".")[1] in WITH_SOURCE or one.name == "CompleteTheLook":
        faults += (
            []
            if "Reference:" in one.docstring.value
            else [f"{place(one)} names no source (`Reference:`)"]
        )
    return faults


def gaps(one: griffe.Class | griffe.Function | griffe.Attribute) -> list[str]:
    """What a docstring leaves out, or says of a parameter that is not there."""
    text, sections = (
        one.docstring.value,
        {section.kind.value: section for section in one.docstring.parsed},
    )
    if ELSEWHERE.search(text) or "property" in one.labels:
        return []
    start = one.members.get("__init__") or one.members.get("__post_init__") if one.is_class else one
    entries = [
        entry
        for kind in ("parameters", "attributes")
        if kind in sections
        for entry in sections[kind].value
    ]
    said = {entry.name.strip("*") for entry in entries}
    parameters = {
        p.name.strip("*"): str(p.annotation)
        for p in getattr(one, "parameters", [])
        if p.name not in KERAS
    }
    faults = [f"`{name}`" for name in parameters if name not in said]
    if (
        not one.is_class
        and str(one.returns) not in ("None", "Self")
        and not sections.keys() & {"returns", "yields"}
    ):
        faults.append("what is returned")
    if start is not None and ERRORS.search(source(start)) and "raises" not in sections:
        faults.append("what is raised")
    if any(ARRAYS.search(annotation) for annotation in parameters.values()) and "[" not in text:
        faults.append("shapes")
    wrong = (
        []
        if one.is_class
        else [f"{place(one)} has no parameter `{name}`" for name in said - parameters.keys()]
    )
    return [f"{place(one)} does not say {fault}" for fault in faults] + wrong


def source(one: griffe.Function) -> str:
    return "\n".join(one.filepath.read_text().splitlines()[one.lineno - 1 : one.endlineno])


def place(one: griffe.Object) -> str:
    return (
        f"{one.filepath.relative_to(ROOT)}:{one.lineno}: "
        f"{one.path.removeprefix(one.module.path + '.')}"
    )


if __name__ == "__main__":
    sys.exit(main())
