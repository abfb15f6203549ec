from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeglm import errors
from edgeglm.errors import BusyError, EdgeglmError, ModelError, Problem, RecipeError, StepError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "errors.md"
SOURCES = [path for folder in ("edgeglm", "device_agents") for path in sorted((ROOT / folder).rglob("*.py"))]
CLASSES = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, EdgeglmError)
}
NOT_ERRORS = {"make_key"}  # its `code` is the digest of the user's code
FALLBACKS = {
    "bug", "user-error", "recipe-invalid", "entry-failed", "model-invalid", "data-invalid", "step-failed",
    "export-failed", "environment-failed", "storage-failed", "store-failed",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """One place of the source that gives an error its code."""

    code: str
    maker: str  # what is called with it; "" for a default
    place: str


class Collector(ast.NodeVisitor):
    """Finds every code that one module can give an error, in whatever way it is written."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name = name
        self.uses: list[Use] = []
        self.unresolved: list[str] = []
        self.without_code: list[tuple[str, str]] = []  # class, place
        self.scopes: list[ast.Module | ast.FunctionDef | ast.AsyncFunctionDef] = [tree]
        self.positions = {"Problem": 3}  # function -> index of its positional parameter `code`
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                arguments = [argument for argument in function.args.args if argument.arg != "self"]
                for place, argument in enumerate(arguments):
                    # the code of a process, or of a broker, is a number
                    if argument.arg == "code" and getattr(argument.annotation, "id", "") != "int":
                        self.positions[function.name] = place
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for argument, default in (
            *zip(reversed(node.args.args), reversed(node.args.defaults), strict=False),
            *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
        ):
            if argument.arg == "code" and default is not None:
                self.add(default, "")
        self.scopes.append(node)
        self.generic_visit(node)
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            name = target.id if isinstance(target, ast.Name) else ""
            problem_field = node.name == "Problem" and name == "code"
            if (name == "default_code" or problem_field) and (value := getattr(statement, "value", None)) is not None:
                self.add(value, "" if problem_field else node.name)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if callee in self.positions:
            given += node.args[self.positions[callee] : self.positions[callee] + 1]
        if callee not in NOT_ERRORS:
            for value in given:
                self.add(value, callee)
        if (callee in CLASSES or callee == "Problem") and not given:
            self.without_code.append((callee, f"{self.name}:{node.lineno}"))
        self.generic_visit(node)

    def add(self, value: ast.expr, maker: str) -> None:
        place = f"{self.name}:{value.lineno}"
        found = self.resolve(value)
        if found is None:
            self.unresolved.append(f"{place} {ast.unparse(value)}")
        self.uses += [Use(code, maker, place) for code in sorted(found or ()) if code]

    def resolve(self, value: ast.expr) -> set[str] | None:
        """Return the texts that an expression can be; none for what callers give; None when that cannot be told."""
        match value:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.IfExp(body=one, orelse=other):
                return self.union([one, other])
            case ast.BoolOp(values=values):
                return self.union(values)
            case ast.Dict(values=values):
                return self.union(values)
            case ast.Subscript(value=ast.Name() as table):
                return self.resolve(table)
            case ast.Call(func=ast.Attribute(value=ast.Name() as table, attr="get"), args=args):
                return self.union([table, *args[1:]])
            case ast.Attribute(attr="default_code" | "code"):
                return set()  # of a class or of another problem: collected where it was given
            case ast.Name(id=name):
                return self.named(name)
        return None

    def union(self, values: list[ast.expr]) -> set[str] | None:
        found = [self.resolve(value) for value in values]
        return None if None in found else set().union(*(one for one in found if one is not None))

    def named(self, name: str) -> set[str] | None:
        for scope in reversed(self.scopes):
            values = [value for target, value in assignments(scope) if target == name]
            if values:
                return self.union(values)
            if isinstance(scope, ast.FunctionDef):
                arguments = [*scope.args.args, *scope.args.kwonlyargs]
                if name == "code" and any(argument.arg == name for argument in arguments):
                    return set()  # its callers say it, by a keyword or at its place: both are collected
        return None


def assignments(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(scope) if isinstance(scope, ast.FunctionDef) else ast.iter_child_nodes(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


@pytest.fixture(scope="module")
def collected() -> list[Collector]:
    return [Collector(str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


@dataclass(frozen=True)
class Heading:
    """A code of docs/errors.md."""

    code: str
    section: str
    text: str  # all that stands under it


def headings() -> list[Heading]:
    found = []
    for section in re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        for part in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
            heading, _, text = part.partition("\n")
            match = re.fullmatch(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", heading)
            assert match, f"the heading {heading!r} is not a code in backquotes"
            found.append(Heading(match[1], title.strip(), text.strip()))
    return found


def test_the_page_has_exactly_the_codes_of_the_source(collected: list[Collector]) -> None:
    unresolved = [place for module in collected for place in module.unresolved]
    assert not unresolved, "codes that cannot be read from the source"
    places = {use.code: use.place for module in collected for use in module.uses}
    documented = {heading.code for heading in headings()}
    assert {code: place for code, place in places.items() if code not in documented} == {}
    assert documented - set(places) == set()


def test_no_code_is_described_twice() -> None:
    assert [code for code, times in Counter(heading.code for heading in headings()).items() if times > 1] == []


@pytest.mark.parametrize("heading", [pytest.param(heading, id=heading.code) for heading in headings()])
def test_every_code_has_one_paragraph_that_says_something(heading: Heading) -> None:
    assert "\n\n" not in heading.text
    assert len(" ".join(heading.text.split())) >= 60


def test_every_code_stands_in_the_section_of_its_exit_code(collected: list[Collector]) -> None:
    sections = {heading.code: heading.section for heading in headings()}
    makers = [use for module in collected for use in module.uses if use.maker in CLASSES]
    assert len(makers) > 50
    for use in makers:
        exit_code = CLASSES[use.maker].exit_code
        assert (exit_code == 4) == (sections[use.code] == "Environment"), use
        assert (exit_code == 3) == (use.code == "budget-missed"), use
        assert (exit_code == 1) == (use.code == "bug"), use


def test_no_error_of_ours_is_left_with_the_fallback_of_its_class(collected: list[Collector]) -> None:
    bare = [(kind, place) for module in collected for kind, place in module.without_code]
    assert bare, "the classes with a code of their own are raised without one"
    assert [place for kind, place in bare if kind == "Problem" or CLASSES[kind].default_code in FALLBACKS] == []
    assert {kind.default_code for kind in CLASSES.values()} > FALLBACKS


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        pytest.param('DataError("x", code="a-keyword")', {"a-keyword"}, id="keyword"),
        pytest.param('Problem("x", "", "", "by-place")', {"by-place"}, id="positional"),
        pytest.param('Problem("x", code="problem-keyword")', {"problem-keyword"}, id="problem-keyword"),
        pytest.param('C = "a-constant"\nwalker.report("k", code=C)', {"a-constant"}, id="constant"),
        pytest.param('DataError("x", code="yes" if full else "no")', {"yes", "no"}, id="choice"),
        pytest.param(
            'T = {"k": "in-table"}\ndef f(k):\n    code = T.get(k, "else")\n    return Problem("x", code=code)',
            {"in-table", "else"},
            id="table",
        ),
        pytest.param(
            'def fail(message, code="preset"):\n    raise RecipeError(message, code=code)\nfail("x", "given")',
            {"preset", "given"},
            id="forwarded",
        ),
        pytest.param('class OtherError(UserError):\n    default_code = "of-class"', {"of-class"}, id="default"),
        pytest.param('make_key(code="digest")', set(), id="not-an-error"),
    ],
)
def test_the_collector_reads_every_way_to_write_a_code(source: str, codes: set[str]) -> None:
    module = Collector("source", ast.parse(source))
    assert {use.code for use in module.uses} == codes
    assert module.unresolved == []


def test_the_collector_says_which_code_it_cannot_read() -> None:
    assert Collector("source", ast.parse('DataError("x", code=made_up())')).unresolved == ["source:1 made_up()"]


@pytest.mark.parametrize(
    ("name", "exit_code", "parent"),
    [
        ("EdgeglmError", 1, "Exception"),
        ("UserError", 2, "EdgeglmError"),
        ("RecipeError", 2, "UserError"),
        ("EntryError", 2, "UserError"),
        ("ModelError", 2, "UserError"),
        ("DataError", 2, "UserError"),
        ("StepError", 2, "UserError"),
        ("ExportError", 2, "UserError"),
        ("BudgetMissedError", 3, "EdgeglmError"),
        ("EnvironmentFailedError", 4, "EdgeglmError"),
        ("MissingExtraError", 4, "EnvironmentFailedError"),
        ("StorageError", 4, "EnvironmentFailedError"),
        ("BusyError", 4, "EnvironmentFailedError"),
        ("WorkerError", 4, "EnvironmentFailedError"),
    ],
)
def test_a_class_of_errors_has_its_place_and_exit_code(name: str, exit_code: int, parent: str) -> None:
    kind = CLASSES[name]
    assert kind.exit_code == kind("x").exit_code == exit_code
    assert [base.__name__ for base in kind.__bases__] == [parent]


def test_the_tree_drawn_at_the_top_of_the_module_is_the_tree_of_classes() -> None:
    drawn: dict[str, tuple[str, int]] = {}  # class -> parent, exit code
    above: list[tuple[int, str, int]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([\s│├└─]*)(\w+Error)(?:\s+(\d))?\b", line)
        if match is None:
            continue
        above = [item for item in above if item[0] < len(match[1])]
        _, parent, inherited = above[-1] if above else (0, "Exception", 1)
        above.append((len(match[1]), match[2], int(match[3] or inherited)))
        drawn[match[2]] = (parent, above[-1][2])
    assert drawn == {name: (kind.__bases__[0].__name__, kind.exit_code) for name, kind in CLASSES.items()}


def test_the_codes_that_classes_give_by_default_differ() -> None:
    assert len({kind.default_code for kind in CLASSES.values()}) == len(CLASSES)


def test_a_problem_reads_as_place_and_fault_then_an_empty_line_hint_and_code() -> None:
    problem = Problem(
        "unknown key `chanel_ratio`",
        hint="did you mean `channel_ratio`?",
        where="kws/recipe.yaml:14 steps[1].prune",
        code="recipe-unknown-key",
    )
    assert str(problem) == (
        "kws/recipe.yaml:14 steps[1].prune: unknown key `chanel_ratio`\n"
        "\n"
        "hint: did you mean `channel_ratio`?\n"
        "code: recipe-unknown-key"
    )


def test_a_problem_without_place_or_hint_shows_neither() -> None:
    assert str(Problem("it is wrong", code="some-code")) == "it is wrong\n\ncode: some-code"


def test_an_error_reads_as_its_problem_and_keeps_the_message_as_its_argument() -> None:
    error = StepError("it diverged", hint="go slower", where="steps[0].distill", code="training-diverged")
    assert str(error) == "steps[0].distill: it diverged\n\nhint: go slower\ncode: training-diverged"
    assert error.args == ("it diverged",)
    assert error.problems == (Problem("it diverged", "go slower", "steps[0].distill", "training-diverged"),)


def test_an_error_without_a_code_has_that_of_its_class() -> None:
    assert (ModelError("x").code, BusyError("x").code) == ("model-invalid", "output-busy")
    assert ModelError("x", code="weights-nan").code == "weights-nan"


def test_an_error_of_several_problems_shows_each_in_order() -> None:
    first = Problem("no such file", where="r.yaml:3 labels", code="file-missing")
    second = Problem("unknown key `stepz`", "did you mean `steps`?", "r.yaml:9", "recipe-unknown-key")
    error = RecipeError.of([first, second])
    assert isinstance(error, RecipeError)
    assert error.problems == (first, second)
    assert error.code == "file-missing"
    assert str(error) == f"{first}\n\n{second}"
    assert str(error).count("code: ") == 2


def test_an_error_whose_problems_were_given_another_place_shows_the_new_one() -> None:
    error = StepError("it diverged", where="layer", code="training-diverged")
    error.problems = tuple(Problem(p.message, p.hint, f"artifacts[0] {p.where}", p.code) for p in error.problems)
    assert str(error).startswith("artifacts[0] layer: it diverged\n")
