//! Figures in files: SVG by plotters, and from that one SVG the PDF by krilla and the PNG by resvg.
//!
//! Everything is vectors and text: text in SVG and PDF can be searched, copied and edited, and both carry the
//! glyphs that they use. No system font is read, so that every machine writes the same figure.
//!
//! What the figure knows about itself goes with it: name, caption, program and every pair of
//! [`Figure::metadata`] as `<metadata>` in SVG, as iTXt chunks in PNG, and in PDF as document information and
//! attached files, among them the numbers drawn (`NAME.csv`) and the experiment (`experiment.toml`).
//!
//! Work-arounds for plotters 0.3, all in this module: its canvas has whole coordinates, so it gets
//! 20 units per point and a `viewBox`; it knows no markup, no exact baselines and no turned text about
//! an anchor, so texts are written here; it sets no line joins, so they are set on the root.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use plotters::backend::{DrawingBackend, SVGBackend};
use plotters::style::{Color, RGBColor, ShapeStyle};
use resvg::tiny_skia;
use usvg::fontdb;

use crate::figure::{Figure, FigureError};
use crate::markup::Level;
use crate::palette::Rgb;
use crate::scene::{Anchor, Request, Scene, Shape, Text};
use crate::subset;
use crate::text::{BOLD, Embedded, FAMILY, ITALIC, REGULAR, run_size};

/// Units of the canvas per point.
const UNITS: f32 = 20.0;
/// Widths that can be asked for, in millimetres.
const WIDTHS: std::ops::RangeInclusive<f64> = 20.0..=1200.0;
/// Resolutions that can be asked for, in dots per inch.
const RESOLUTIONS: std::ops::RangeInclusive<f64> = 10.0..=2400.0;
/// Name and version of this program, as files name it.
const PROGRAM: &str = concat!("Nullcline ", env!("CARGO_PKG_VERSION"));

/// The figure as SVG, `width_mm` millimetres wide, from 20 to 1,200; its height follows from the panels.
///
/// # Errors
/// [`FigureError::Invalid`] for a figure that cannot be drawn, [`FigureError::Width`] for a width that is too
/// small for its labels or out of range.
pub fn svg(figure: &Figure, width_mm: f64) -> Result<String, FigureError> {
    drawing(figure, width_mm, true)
}

/// The SVG, with or without its fonts; the converters have the fonts already.
fn drawing(figure: &Figure, width_mm: f64, with_fonts: bool) -> Result<String, FigureError> {
    let scene = scene(figure, width_mm)?;
    let size = scene.size.map(|length| (length * UNITS).ceil() as u32);
    let mut body = String::new();
    draw(&scene, &mut body, (size[0], size[1])).map_err(|problem| FigureError::Painter {
        figure: figure.name.clone(),
        format: "SVG",
        problem,
    })?;
    // The root element is ours: lengths in points, joins, and the metadata.
    let inside = body
        .split_once(">\n")
        .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
        .map_or("", |(inside, _)| inside);
    let mut out = String::with_capacity(body.len() + 8192);
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}pt\" height=\"{}pt\" viewBox=\"0 0 {} {}\" \
         stroke-linejoin=\"round\" font-family=\"'{FAMILY}', Arial, Helvetica, sans-serif\">\n",
        size[0] as f32 / UNITS,
        size[1] as f32 / UNITS,
        size[0],
        size[1],
    );
    let _ = writeln!(out, "<title>{}</title>", escaped(&figure.name));
    if !figure.caption.is_empty() {
        let _ = writeln!(out, "<desc>{}</desc>", escaped(&figure.caption));
    }
    out.push_str("<metadata>\n");
    for (key, value) in described(figure) {
        let _ = writeln!(
            out,
            "<entry xmlns=\"urn:nullcline:figure\" key=\"{}\">{}</entry>",
            escaped(&key),
            escaped(&value)
        );
    }
    out.push_str("</metadata>\n");
    if with_fonts {
        let mut used: [BTreeSet<char>; 3] = Default::default();
        for run in scene.texts.iter().flat_map(|text| &text.runs) {
            let face = if run.bold {
                1
            } else {
                usize::from(run.italic) * 2
            };
            used[face].extend(run.text.chars());
        }
        let _ = writeln!(out, "<style>\n{}</style>", subset::style_sheet(&used));
    }
    out.push_str(inside);
    for text in &scene.texts {
        write_text(&mut out, text);
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// The figure as PDF of one page, `width_mm` millimetres wide, with its fonts as subsets.
///
/// # Errors
/// As [`svg`]; [`FigureError::Painter`] if the PDF cannot be made.
pub fn pdf(figure: &Figure, width_mm: f64) -> Result<Vec<u8>, FigureError> {
    use krilla::embed::{AssociationKind, EmbeddedFile, MimeType};
    use krilla::geom::Size;
    use krilla::metadata::Metadata;
    use krilla::page::PageSettings;
    use krilla_svg::{SurfaceExt as _, SvgSettings};

    let failed = |problem: String| FigureError::Painter {
        figure: figure.name.clone(),
        format: "PDF",
        problem,
    };
    let tree = tree(figure, &drawing(figure, width_mm, false)?, "PDF")?;
    // usvg counts in CSS pixels of 1/96 inch, PDF in points of 1/72.
    let (width, height) = (tree.size().width() * 0.75, tree.size().height() * 0.75);
    let size = Size::from_wh(width, height).ok_or_else(|| failed("the page has no area".into()))?;
    let mut document = krilla::Document::new();
    let mut page = document.start_page_with(PageSettings::new(size));
    let mut surface = page.surface();
    surface
        .draw_svg(&tree, size, SvgSettings::default())
        .ok_or_else(|| failed("the drawing was refused".into()))?;
    surface.finish();
    page.finish();

    let keywords = figure
        .metadata
        .iter()
        .filter(|(_, value)| !value.contains('\n'))
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    document.set_metadata(
        Metadata::new()
            .title(figure.name.clone())
            .description(figure.caption.clone())
            .creator(PROGRAM.to_owned())
            .keywords(keywords),
    );
    let mut attach =
        |path: String, mime: &str, description: &str, kind: AssociationKind, data: String| {
            // A name that is taken already is left out; metadata.json has everything.
            let _ = document.embed_file(EmbeddedFile {
                path,
                mime_type: MimeType::new(mime),
                description: Some(description.to_owned()),
                association_kind: kind,
                data: data.into_bytes().into(),
                modification_date: None,
                compress: None,
                location: None,
            });
        };
    let name = file_name(&figure.name);
    attach(
        format!("{name}.csv"),
        "text/csv",
        "The numbers drawn",
        AssociationKind::Data,
        figure.csv(),
    );
    let json =
        serde_json::to_string_pretty(&described(figure)).map_err(|e| failed(e.to_string()))?;
    attach(
        "metadata.json".into(),
        "application/json",
        "What made this figure",
        AssociationKind::Supplement,
        json,
    );
    for (key, value) in figure
        .metadata
        .iter()
        .filter(|(_, value)| value.contains('\n'))
    {
        let extension = if key == "experiment" { "toml" } else { "txt" };
        attach(
            format!("{}.{extension}", file_name(key)),
            "text/plain",
            "What made this figure",
            AssociationKind::Source,
            value.clone(),
        );
    }
    document.finish().map_err(|e| failed(format!("{e:?}")))
}

/// The figure as PNG, `width_mm` millimetres wide at `dpi` dots per inch (10 to 2,400; journals ask for 300).
///
/// # Errors
/// As [`svg`]; [`FigureError::Painter`] for a resolution out of range or an image too large for memory.
pub fn png(figure: &Figure, width_mm: f64, dpi: f64) -> Result<Vec<u8>, FigureError> {
    let failed = |problem: String| FigureError::Painter {
        figure: figure.name.clone(),
        format: "PNG",
        problem,
    };
    if !RESOLUTIONS.contains(&dpi) {
        return Err(failed(format!(
            "{dpi} dots per inch; from {} to {} are allowed",
            RESOLUTIONS.start(),
            RESOLUTIONS.end()
        )));
    }
    let tree = tree(figure, &drawing(figure, width_mm, false)?, "PNG")?;
    let scale = (dpi / 96.0) as f32;
    let size =
        [tree.size().width(), tree.size().height()].map(|length| (length * scale).round() as u32);
    let mut pixels = tiny_skia::Pixmap::new(size[0], size[1]).ok_or_else(|| {
        failed(format!(
            "an image of {} by {} pixels is too large",
            size[0], size[1]
        ))
    })?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(
        &tree,
        tiny_skia::Transform::from_scale(scale, scale),
        &mut pixels.as_mut(),
    );
    // The paper is opaque, so that no alpha is left to store.
    let rgb: Vec<u8> = pixels
        .pixels()
        .iter()
        .flat_map(|p| [p.red(), p.green(), p.blue()])
        .collect();

    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, size[0], size[1]);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let per_meter = (dpi / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_meter,
        yppu: per_meter,
        unit: png::Unit::Meter,
    }));
    for (key, value) in described(figure) {
        encoder
            .add_itxt_chunk(keyword(&key), value)
            .map_err(|e| failed(e.to_string()))?;
    }
    let mut writer = encoder.write_header().map_err(|e| failed(e.to_string()))?;
    writer
        .write_image_data(&rgb)
        .map_err(|e| failed(e.to_string()))?;
    writer.finish().map_err(|e| failed(e.to_string()))?;
    Ok(out)
}

fn scene(figure: &Figure, width_mm: f64) -> Result<Scene, FigureError> {
    if !WIDTHS.contains(&width_mm) {
        return Err(FigureError::Width {
            figure: figure.name.clone(),
            width_mm,
            problem: format!(
                "widths from {} to {} mm are allowed",
                WIDTHS.start(),
                WIDTHS.end()
            ),
        });
    }
    Scene::build(
        figure,
        &Request::file((width_mm / 25.4 * 72.0) as f32),
        &Embedded,
    )
}

/// Everything that goes into files beside the drawing.
fn described(figure: &Figure) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("Title".to_owned(), figure.name.clone()),
        ("Description".to_owned(), figure.caption.clone()),
        ("Software".to_owned(), PROGRAM.to_owned()),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.extend(figure.metadata.iter().cloned());
    pairs
}

/// Shapes by plotters.
fn draw(scene: &Scene, out: &mut String, size: (u32, u32)) -> Result<(), String> {
    let mut backend = SVGBackend::with_string(out, size);
    let unit = |length: f32| (length * UNITS).round() as i32;
    let units = |[x, y]: [f32; 2]| (unit(x), unit(y));
    let style = |[r, g, b]: Rgb, opacity: f32, width: f32| ShapeStyle {
        color: RGBColor(r, g, b).mix(f64::from((opacity * 1000.0).round() / 1000.0)),
        filled: true,
        stroke_width: unit(width).max(1).unsigned_abs(),
    };
    let corner = (size.0 as i32, size.1 as i32);
    backend
        .draw_rect((0, 0), corner, &style([255; 3], 1.0, 0.0), true)
        .map_err(|e| e.to_string())?;
    for shape in &scene.shapes {
        match shape {
            Shape::Line {
                points,
                width,
                color,
                opacity,
            } => {
                let mut places: Vec<(i32, i32)> = points.iter().map(|&p| units(p)).collect();
                places.dedup();
                if places.len() > 1 {
                    backend.draw_path(places, &style(*color, *opacity, *width))
                } else {
                    Ok(())
                }
            }
            Shape::Strip {
                upper,
                lower,
                color,
                opacity,
            } => {
                let mut places: Vec<(i32, i32)> = upper
                    .iter()
                    .chain(lower.iter().rev())
                    .map(|&p| units(p))
                    .collect();
                places.dedup();
                backend.fill_polygon(places, &style(*color, *opacity, 0.0))
            }
            Shape::Polygon {
                points,
                color,
                opacity,
            } => {
                let mut places: Vec<(i32, i32)> = points.iter().map(|&p| units(p)).collect();
                places.dedup();
                backend.fill_polygon(places, &style(*color, *opacity, 0.0))
            }
            Shape::Box {
                rect,
                color,
                opacity,
            } => backend.draw_rect(
                units([rect.left, rect.top]),
                units([rect.right, rect.bottom]),
                &style(*color, *opacity, 0.0),
                true,
            ),
            Shape::Disc {
                center,
                radius,
                color,
                opacity,
            } => backend.draw_circle(
                units(*center),
                unit(*radius).max(1).unsigned_abs(),
                &style(*color, *opacity, 0.0),
                true,
            ),
        }
        .map_err(|e| e.to_string())?;
    }
    backend.present().map_err(|e| e.to_string())
}

/// One text element; runs in another style become `<tspan>`s.
fn write_text(out: &mut String, text: &Text) {
    let number = |length: f32| (length * UNITS).round() as i32;
    let [x, y] = text.at.map(number);
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let [r, g, b] = text.color;
    let _ = write!(
        out,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"#{r:02X}{g:02X}{b:02X}\"",
        number(text.size)
    );
    if text.upright {
        let _ = write!(out, " transform=\"rotate(-90 {x} {y})\"");
    }
    out.push('>');
    let mut dropped = 0;
    for run in &text.runs {
        let drop = number(run.level.drop() * text.size);
        let mut attributes = String::new();
        if drop != dropped {
            let _ = write!(attributes, " dy=\"{}\"", drop - dropped);
            dropped = drop;
        }
        if run.level != Level::Line {
            let _ = write!(
                attributes,
                " font-size=\"{}\"",
                number(run_size(text.size, run.level))
            );
        }
        // There is no face that is both.
        if run.bold {
            attributes.push_str(" font-weight=\"bold\"");
        } else if run.italic {
            attributes.push_str(" font-style=\"italic\"");
        }
        if attributes.is_empty() {
            out.push_str(&escaped(&run.text));
        } else {
            let _ = write!(out, "<tspan{attributes}>{}</tspan>", escaped(&run.text));
        }
    }
    out.push_str("</text>\n");
}

/// Escaped for XML, without the characters that XML cannot hold.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A name that is safe in every file system.
fn file_name(name: &str) -> String {
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(80)
        .collect();
    if safe.is_empty() {
        "figure".into()
    } else {
        safe
    }
}

/// A key as PNG allows it: 1 to 79 characters of Latin-1, no spaces at its ends.
fn keyword(key: &str) -> String {
    let key: String = key
        .chars()
        .filter(|c| matches!(c, ' '..='~'))
        .take(79)
        .collect();
    let key = key.split_whitespace().collect::<Vec<_>>().join(" ");
    if key.is_empty() {
        "Comment".into()
    } else {
        key
    }
}

/// The SVG as usvg reads it, with the embedded fonts and nothing else.
fn tree(figure: &Figure, svg: &str, format: &'static str) -> Result<usvg::Tree, FigureError> {
    static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = fontdb::Database::new();
        for data in [REGULAR, BOLD, ITALIC] {
            fonts.load_font_data(data.to_vec());
        }
        fonts.set_sans_serif_family(FAMILY);
        Arc::new(fonts)
    });
    let options = usvg::Options {
        fontdb: FONTS.clone(),
        font_family: FAMILY.to_owned(),
        ..usvg::Options::default()
    };
    usvg::Tree::from_str(svg, &options).map_err(|e| FigureError::Painter {
        figure: figure.name.clone(),
        format,
        problem: e.to_string(),
    })
}
