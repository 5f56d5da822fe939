"""How the window looks: system fonts, quiet colors, light and dark; nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base, colors, sizes

CSS = Path(__file__).with_name("theme.css")
"""The stylesheet of the project's own parts."""
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> Base:
    """Return the theme: teal on slate."""
    made = Base(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        font=FONTS,
        font_mono=MONO,
        text_size=sizes.text_md,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
    )
    return made.set(
        body_background_fill="#f4f6f8",
        body_background_fill_dark="#0d1217",
        block_background_fill="#ffffff",
        block_background_fill_dark="#161d24",
        block_border_color="#d8dfe6",
        block_border_color_dark="#2a343e",
        border_color_primary="#d8dfe6",
        border_color_primary_dark="#2a343e",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#0d9488",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_label_text_color="#475569",
        block_label_text_color_dark="#a3b1bf",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#161d24",
        background_fill_secondary="#f4f6f8",
        background_fill_secondary_dark="#1b232b",
        input_background_fill="#f4f6f8",
        input_background_fill_dark="#0d1217",
        button_secondary_background_fill="#e3e9ee",
        button_secondary_background_fill_dark="#2a343e",
        button_secondary_background_fill_hover="#d5dde4",
        button_secondary_background_fill_hover_dark="#364350",
        button_secondary_text_color="#17212b",
        button_secondary_text_color_dark="#e6ecf1",
        color_accent_soft="#e6f4f2",
        color_accent_soft_dark="#12302d",
        border_color_accent_subdued="#b7ddd8",
        border_color_accent_subdued_dark="#1f4d48",
        input_placeholder_color="#6b7a88",
        input_placeholder_color_dark="#8496a5",
        body_text_color="#17212b",
        body_text_color_dark="#e6ecf1",
        body_text_color_subdued="#52606d",
        body_text_color_subdued_dark="#9fb0bf",
    )
