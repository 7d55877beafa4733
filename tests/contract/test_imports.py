"""Which package may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic_settings", "multipart"}


def imports(package: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                yield path, str(node.module)


def test_the_service_never_imports_the_trainer() -> None:
    assert [found for found in imports("service") if found[1].split(".")[0] == "trainer"] == []


def test_the_trainer_imports_only_the_model_and_the_errors_of_the_service() -> None:
    wrong = [
        found
        for found in imports("trainer")
        if found[1].split(".")[0] == "service"
        and not found[1].startswith(("service.model.", "service.errors"))
    ]
    assert wrong == []


def test_the_model_imports_nothing_of_the_web_nor_of_the_rest_of_the_service() -> None:
    wrong = [
        found
        for found in imports("service/model")
        if found[1].split(".")[0] in WEB
        or (
            found[1].startswith("service.")
            and not found[1].startswith(("service.model", "service.errors"))
        )
    ]
    assert wrong == []


def test_the_client_imports_the_wire_format_of_the_service_and_nothing_else_of_it() -> None:
    wrong = [
        found
        for found in imports("clearcall")
        if found[1].split(".")[0] in ("service", "trainer")
        and found[1] not in ("service.frames", "service.errors")
    ]
    assert wrong == []
    assert [found for found in imports("service") if found[1].split(".")[0] == "clearcall"] == []


def test_nothing_imports_the_desktop_but_itself_and_it_never_imports_the_trainer() -> None:
    for package in ("clearcall", "service", "trainer"):
        assert [found for found in imports(package) if found[1].split(".")[0] == "desktop"] == []
    assert [found for found in imports("desktop") if found[1].split(".")[0] == "trainer"] == []


@pytest.mark.parametrize("module", ["service.model.sharpener", "trainer.distillation"])
def test_the_web_stack_is_not_loaded_by_what_does_not_need_it(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({WEB!r} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == ""
