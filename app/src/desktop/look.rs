//! Fonts, colours and spacing of the window.

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke,
    TextStyle, Theme,
};
use std::sync::Arc;

/// The colour of what can be pressed and of what is selected.
pub const ACCENT: Color32 = Color32::from_rgb(0x1F, 0x5F, 0xA8);
/// The same on a dark ground.
pub const ACCENT_DARK: Color32 = Color32::from_rgb(0x6B, 0xA6, 0xE8);
/// Stable fixed points.
pub const STABLE: Color32 = Color32::from_rgb(0x10, 0x10, 0x10);
/// Unstable ones.
pub const UNSTABLE: Color32 = Color32::from_rgb(0xD5, 0x2B, 0x1E);

/// The accent on the ground in use.
pub fn accent(visuals: &egui::Visuals) -> Color32 {
    if visuals.dark_mode {
        ACCENT_DARK
    } else {
        ACCENT
    }
}

/// Fonts, both themes, spacing.
pub fn install(context: &egui::Context) {
    let mut fonts = FontDefinitions::default();
    for (name, bytes) in [
        ("interface", nullcline_figures::text::REGULAR),
        ("interface bold", nullcline_figures::text::BOLD),
    ] {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    // The fonts that come with egui stay behind for signs that a text font lacks.
    let fallback = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    let family = |first: &str| {
        std::iter::once(first.to_owned())
            .chain(fallback.iter().cloned())
            .collect()
    };
    fonts.families.insert(bold(), family("interface bold"));
    fonts
        .families
        .insert(FontFamily::Proportional, family("interface"));
    nullcline_figures::screen::install_fonts(context, fonts);

    context.all_styles_mut(|style| {
        style.text_styles = [
            (TextStyle::Heading, FontId::new(17.0, bold())),
            (TextStyle::Body, FontId::new(13.0, FontFamily::Proportional)),
            (
                TextStyle::Button,
                FontId::new(13.0, FontFamily::Proportional),
            ),
            (
                TextStyle::Small,
                FontId::new(11.0, FontFamily::Proportional),
            ),
            (
                TextStyle::Monospace,
                FontId::new(12.0, FontFamily::Monospace),
            ),
        ]
        .into();
        style.spacing.item_spacing = egui::vec2(8.0, 6.0);
        style.spacing.button_padding = egui::vec2(9.0, 4.0);
        style.spacing.interact_size = egui::vec2(36.0, 24.0);
        style.spacing.menu_margin = Margin::same(6);
        style.spacing.window_margin = Margin::same(12);
        style.spacing.indent = 12.0;
        style.interaction.selectable_labels = false;
        style.interaction.tooltip_delay = 0.35;
    });
    context.style_mut_of(Theme::Light, |style| light(&mut style.visuals));
    context.style_mut_of(Theme::Dark, |style| dark(&mut style.visuals));
}

/// The family of the bold face.
pub fn bold() -> FontFamily {
    FontFamily::Name("interface bold".into())
}

/// A text set bold.
pub fn strong(text: impl Into<String>) -> egui::RichText {
    egui::RichText::new(text).family(bold())
}

fn light(visuals: &mut egui::Visuals) {
    let gray = |level| Color32::from_gray(level);
    visuals.panel_fill = Color32::from_rgb(0xEE, 0xF0, 0xF3);
    visuals.window_fill = Color32::WHITE;
    visuals.window_stroke = Stroke::new(1.0, gray(0xC8));
    visuals.extreme_bg_color = Color32::WHITE;
    visuals.faint_bg_color = Color32::from_rgb(0xF6, 0xF7, 0xF9);
    visuals.selection.bg_fill = Color32::from_rgb(0xCF, 0xE1, 0xF6);
    visuals.selection.stroke = Stroke::new(1.0, Color32::from_rgb(0x0E, 0x3A, 0x6B));
    visuals.hyperlink_color = ACCENT;
    visuals.error_fg_color = Color32::from_rgb(0xB3, 0x1D, 0x12);
    visuals.warn_fg_color = Color32::from_rgb(0x9A, 0x5B, 0x00);
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, gray(0xD6));
    widgets.noninteractive.fg_stroke = Stroke::new(1.0, Color32::from_rgb(0x22, 0x26, 0x2B));
    widgets.inactive.fg_stroke = Stroke::new(1.0, Color32::from_rgb(0x22, 0x26, 0x2B));
    widgets.inactive.weak_bg_fill = Color32::WHITE;
    widgets.inactive.bg_fill = gray(0xE2);
    widgets.inactive.bg_stroke = Stroke::new(1.0, gray(0xC6));
    widgets.hovered.weak_bg_fill = Color32::from_rgb(0xF2, 0xF6, 0xFB);
    widgets.hovered.bg_stroke = Stroke::new(1.0, Color32::from_rgb(0x8F, 0xAE, 0xD2));
    widgets.active.weak_bg_fill = Color32::from_rgb(0xE1, 0xEB, 0xF7);
    widgets.open.weak_bg_fill = Color32::from_rgb(0xEA, 0xF0, 0xF8);
    common(visuals);
}

fn dark(visuals: &mut egui::Visuals) {
    let gray = |level| Color32::from_gray(level);
    visuals.panel_fill = Color32::from_rgb(0x1B, 0x1D, 0x21);
    visuals.window_fill = Color32::from_rgb(0x26, 0x29, 0x2E);
    visuals.window_stroke = Stroke::new(1.0, gray(0x4A));
    visuals.extreme_bg_color = Color32::from_rgb(0x14, 0x16, 0x19);
    visuals.faint_bg_color = Color32::from_rgb(0x2A, 0x2D, 0x33);
    visuals.selection.bg_fill = Color32::from_rgb(0x23, 0x48, 0x73);
    visuals.selection.stroke = Stroke::new(1.0, Color32::from_rgb(0xD6, 0xE7, 0xFA));
    visuals.hyperlink_color = ACCENT_DARK;
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.fg_stroke = Stroke::new(1.0, gray(0xD2));
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, gray(0x3C));
    widgets.inactive.fg_stroke = Stroke::new(1.0, gray(0xD8));
    widgets.inactive.weak_bg_fill = Color32::from_rgb(0x30, 0x34, 0x3A);
    widgets.inactive.bg_stroke = Stroke::new(1.0, gray(0x4C));
    common(visuals);
}

fn common(visuals: &mut egui::Visuals) {
    let radius = CornerRadius::same(4);
    let widgets = &mut visuals.widgets;
    for state in [
        &mut widgets.noninteractive,
        &mut widgets.inactive,
        &mut widgets.hovered,
        &mut widgets.active,
        &mut widgets.open,
    ] {
        state.corner_radius = radius;
        state.expansion = 0.0;
    }
    visuals.window_corner_radius = CornerRadius::same(6);
    visuals.menu_corner_radius = CornerRadius::same(6);
    visuals.indent_has_left_vline = false;
}

/// The ground that a panel stands on.
pub fn sheet(visuals: &egui::Visuals) -> Color32 {
    if visuals.dark_mode {
        visuals.window_fill
    } else {
        Color32::WHITE
    }
}

/// The icon of the window: a cubic nullcline with its three fixed points, the middle one unstable.
pub fn icon() -> egui::IconData {
    const SIZE: u32 = 64;
    let mut rgba = Vec::with_capacity((SIZE * SIZE * 4) as usize);
    for row in 0..SIZE {
        for column in 0..SIZE {
            let x = (f64::from(column) + 0.5) / f64::from(SIZE) * 2.8 - 1.4;
            let y = 1.4 - (f64::from(row) + 0.5) / f64::from(SIZE) * 2.8;
            // The curve y = 2 (x^3 - x) crosses zero at -1, 0 and 1; its distance to first order.
            let (curve, slope) = (2.0 * (x * x * x - x), 2.0 * (3.0 * x * x - 1.0));
            let near_curve = (y - curve).abs() / (1.0 + slope * slope).sqrt() < 0.09;
            let near = |at: f64| (x - at).hypot(y) < 0.24;
            let [r, g, b] = if near(-1.0) || near(1.0) {
                [0x10, 0x10, 0x10]
            } else if near(0.0) {
                [0xD5, 0x2B, 0x1E]
            } else if near_curve {
                [0x1F, 0x5F, 0xA8]
            } else {
                [0xFF, 0xFF, 0xFF]
            };
            rgba.extend([r, g, b, 0xFF]);
        }
    }
    egui::IconData {
        rgba,
        width: SIZE,
        height: SIZE,
    }
}
