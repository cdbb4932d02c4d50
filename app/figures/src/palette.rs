//! One palette for both painters: what a role looks like, and what colour a number has.
//!
//! Categories are those of Okabe and Ito (Color Universal Design, 2008), which readers with any common colour
//! vision can tell apart; yellow is left out because thin yellow lines vanish on white. Roles follow the
//! conventions of the field, and differ in dash, fill or shape as well as in colour wherever they meet.

use crate::figure::{ColorMap, ColorScale, Dash, Marker, Role, Scale, Style};

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Text and axes.
pub const INK: Rgb = [0, 0, 0];
/// Paper; also the inside of open markers.
pub const PAPER: Rgb = [255, 255, 255];
/// Helping lines, edges of the box of a space.
pub const GUIDE: Rgb = [150, 150, 150];
/// The far edges of the box of a space.
pub const FAINT: Rgb = [205, 205, 205];
/// Ring around what is selected: the orange of Okabe and Ito.
pub const SELECTED: Rgb = [230, 159, 0];
/// Red of what is unstable.
const RED: Rgb = [214, 39, 40];
/// Purple of what a model makes.
const PURPLE: Rgb = [106, 27, 154];

/// Categories, in order of use.
pub const CATEGORIES: [Rgb; 7] = [
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [213, 94, 0],
    [204, 121, 167],
    [86, 180, 233],
    [0, 0, 0],
];

/// Colours of areas with black marks in them, in order of use: the light scheme of P. Tol (Colour schemes, SRON technical
/// note, 2021), made for readers with any common colour vision, but for its grey.
pub const REGIONS: [Rgb; 8] = [
    [119, 170, 221],
    [238, 136, 102],
    [238, 221, 136],
    [68, 187, 153],
    [255, 170, 187],
    [153, 221, 255],
    [187, 204, 51],
    [170, 170, 0],
];
/// Areas that are none of the others.
pub const REST: Rgb = [187, 187, 187];
/// Areas of which nothing is known.
pub const UNKNOWN: Rgb = [232, 232, 232];

/// Everything that a painter needs to know of a style; lengths in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Colour.
    pub color: Rgb,
    /// Width of lines.
    pub width: f32,
    /// Dashes of lines.
    pub dash: Dash,
    /// Shape of points.
    pub marker: Marker,
    /// Diameter of points.
    pub size: f32,
    /// Opacity in [0, 1].
    pub opacity: f32,
}

/// The look of a style: that of its role, with what the style itself says in its place.
#[must_use]
pub fn look(style: &Style) -> Look {
    let (color, width, dash, marker, size) = match style.role {
        Role::Stable => (INK, 0.75, Dash::Solid, Marker::Disc, 4.5),
        Role::Unstable => (RED, 0.75, Dash::Solid, Marker::Ring, 4.5),
        Role::Slow => (GUIDE, 0.75, Dash::Solid, Marker::Square, 3.5),
        Role::UnstableMode => (RED, 1.0, Dash::Solid, Marker::Disc, 3.0),
        Role::StableMode => (INK, 0.5, Dash::Solid, Marker::Disc, 3.0),
        Role::Trajectory => (CATEGORIES[0], 0.5, Dash::Solid, Marker::Disc, 2.0),
        Role::Input => ([128, 128, 128], 0.75, Dash::Solid, Marker::Disc, 3.0),
        Role::Target => ([0, 168, 198], 1.5, Dash::Solid, Marker::Disc, 3.0),
        Role::Output => (PURPLE, 0.9, Dash::Dashed, Marker::Disc, 3.0),
        Role::Recorded => (INK, 0.6, Dash::Solid, Marker::Disc, 2.0),
        Role::Generated => (PURPLE, 0.6, Dash::Solid, Marker::Disc, 2.0),
        Role::Guide => (GUIDE, 0.5, Dash::Solid, Marker::Disc, 2.0),
        Role::Category(n) => (
            CATEGORIES[n % CATEGORIES.len()],
            0.9,
            Dash::Solid,
            Marker::Disc,
            3.0,
        ),
    };
    Look {
        color: style.color.unwrap_or(color),
        width: style.width.map_or(width, |w| w as f32),
        dash: style.dash.unwrap_or(dash),
        marker: style.marker.unwrap_or(marker),
        size: style.size.map_or(size, |s| s as f32),
        opacity: style.opacity as f32,
    }
}

/// Colour at `t` in [0, 1] of a map; what lies outside takes the colour of the end.
#[must_use]
pub fn map_color(map: ColorMap, t: f64) -> Rgb {
    let t = t.clamp(0.0, 1.0);
    let color = match map {
        ColorMap::Viridis => colorous::VIRIDIS.eval_continuous(t),
        ColorMap::Cividis => colorous::CIVIDIS.eval_continuous(t),
        ColorMap::BlueRed => colorous::RED_BLUE.eval_continuous(1.0 - t),
    };
    [color.r, color.g, color.b]
}

/// A colour scale with its range filled in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colors {
    /// The colours.
    pub map: ColorMap,
    /// Numbers at the two ends.
    pub range: (f64, f64),
    /// Linear or logarithmic.
    pub scale: Scale,
}

impl Colors {
    /// The scale over its own range, or over that of the numbers that it has a colour for.
    #[must_use]
    pub fn new(scale: &ColorScale, values: &[f64]) -> Self {
        let range = scale.range.unwrap_or_else(|| {
            crate::scale::fitted(
                crate::scale::extent(values.iter().copied(), scale.scale),
                scale.scale,
                0.0,
            )
        });
        Self {
            map: scale.map,
            range,
            scale: scale.scale,
        }
    }

    /// Colour of a number; `None` for a missing one.
    #[must_use]
    pub fn color(&self, value: f64) -> Option<Rgb> {
        let t = crate::scale::Scaler {
            range: self.range,
            scale: self.scale,
        }
        .fraction(value)?;
        Some(map_color(self.map, t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of the sRGB standard (W3C, WCAG 2.1).
    fn luminance(color: Rgb) -> f64 {
        let [r, g, b] = color.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn conventions_of_the_field() {
        let stable = look(&Role::Stable.into());
        assert_eq!((stable.color, stable.marker), (INK, Marker::Disc));
        assert_eq!(look(&Role::Unstable.into()).color, RED);
        assert_eq!(look(&Role::UnstableMode.into()).color, RED);
        assert_eq!(look(&Role::Output.into()).dash, Dash::Dashed);
        assert_eq!(
            look(&Role::Category(7).into()),
            look(&Role::Category(0).into())
        );
        let own = look(
            &Style::from(Role::Target)
                .color([1, 2, 3])
                .width(2.0)
                .size(5.0)
                .opacity(0.5),
        );
        assert_eq!(
            (own.color, own.width, own.size, own.opacity),
            ([1, 2, 3], 2.0, 5.0, 0.5)
        );
    }

    #[test]
    fn sequential_maps_grow_lighter_all_the_way() {
        for map in [ColorMap::Viridis, ColorMap::Cividis] {
            let light: Vec<f64> = (0..=64)
                .map(|i| luminance(map_color(map, f64::from(i) / 64.0)))
                .collect();
            assert!(light.windows(2).all(|w| w[1] > w[0]), "{map:?}");
        }
    }

    #[test]
    fn diverging_map_is_lightest_in_the_middle_and_red_above() {
        let middle = luminance(map_color(ColorMap::BlueRed, 0.5));
        assert!(middle > 0.8);
        let [r, _, b] = map_color(ColorMap::BlueRed, 0.9);
        assert!(r > b);
    }

    #[test]
    fn lines_stand_out_from_paper() {
        // 2:1 is the least that a line of half a point needs to be seen in print.
        for role in [
            Role::Input,
            Role::Target,
            Role::Output,
            Role::Trajectory,
            Role::Guide,
            Role::Slow,
        ]
        .into_iter()
        .chain((0..7).map(Role::Category))
        {
            let contrast = 1.05 / (luminance(look(&role.into()).color) + 0.05);
            assert!(contrast >= 2.0, "{role:?}: {contrast}");
        }
    }

    #[test]
    fn black_marks_are_seen_on_regions() {
        let all: Vec<Rgb> = REGIONS.into_iter().chain([REST, UNKNOWN]).collect();
        for (i, color) in all.iter().enumerate() {
            let contrast = (luminance(*color) + 0.05) / 0.05;
            assert!(contrast >= 7.0, "{color:?}: {contrast}");
            for other in &all[..i] {
                let apart = color.iter().zip(other).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(apart.unwrap_or(0) >= 34, "{color:?} {other:?}");
            }
        }
    }

    #[test]
    fn missing_numbers_have_no_colour() {
        let colors = Colors::new(
            &ColorScale::new("q", "1").scale(Scale::Log),
            &[1e-3, 0.0, f64::NAN, 10.0],
        );
        assert_eq!(colors.range, (1e-3, 10.0));
        assert_eq!(colors.color(f64::NAN), None);
        assert_eq!(colors.color(0.0), None);
        assert_eq!(colors.color(10.0), Some(map_color(ColorMap::Viridis, 1.0)));
    }
}
