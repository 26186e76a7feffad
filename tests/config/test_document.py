"""The written documentation of the settings is what the classes say."""

from __future__ import annotations

from pathlib import Path

from config import document


def test_the_default_file_is_what_the_classes_make(root: Path):
    # Made by: python -m config.document > config/everstep.toml
    assert (root / "config" / "everstep.toml").read_text(encoding="utf-8") == document.toml()


def test_the_reference_is_what_the_classes_make(root: Path):
    # Made by: python -m config.document markdown, pasted under "Settings".
    assert document.markdown() in (root / "docs" / "operating.md").read_text(encoding="utf-8")


def test_every_section_and_setting_says_what_it_is():
    for section, model in document.sections():
        assert model.__doc__, section
        for key, field in model.model_fields.items():
            assert field.description, f"{section}.{key}"
            assert field.description.endswith("."), f"{section}.{key}: a description is a sentence"
