//! Subsets of the embedded fonts for SVG: only the glyphs that a figure uses, as a `@font-face` rule.
//!
//! A subset keeps the numbers of its glyphs and leaves empty those that it does not need, so that compound
//! glyphs stay as they are. Tables follow the OpenType specification, version 1.9; kerning and hints are left
//! out, as SVG viewers position text well without.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ab_glyph::{Font as _, FontRef};

use crate::text::{BOLD, FAMILY, ITALIC, REGULAR};

/// The style sheet that brings the glyphs of these characters: regular, bold, italic.
pub(crate) fn style_sheet(used: &[BTreeSet<char>; 3]) -> String {
    let faces = [
        (REGULAR, "normal", "normal"),
        (BOLD, "bold", "normal"),
        (ITALIC, "normal", "italic"),
    ];
    let mut out = String::new();
    for ((data, weight, style), characters) in faces.into_iter().zip(used) {
        if characters.is_empty() {
            continue;
        }
        // The fonts are compiled in and well formed, which a test shows; were one not, viewers would take the
        // next family of the list.
        if let Some(font) = subset(data, characters) {
            let _ = writeln!(
                out,
                "@font-face{{font-family:'{FAMILY}';font-weight:{weight};font-style:{style};\
                 src:url(data:font/ttf;base64,{})format('truetype')}}",
                base64(&font)
            );
        }
    }
    out
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// A table of a font.
fn table<'a>(data: &'a [u8], tag: &[u8; 4]) -> Option<&'a [u8]> {
    let count = usize::from(u16_at(data, 4)?);
    (0..count)
        .map(|i| 12 + 16 * i)
        .find(|&at| data.get(at..at + 4) == Some(tag))
        .and_then(|at| {
            let start = u32_at(data, at + 8)? as usize;
            data.get(start..start + u32_at(data, at + 12)? as usize)
        })
}

/// The font with the glyphs of these characters only.
fn subset(data: &[u8], characters: &BTreeSet<char>) -> Option<Vec<u8>> {
    let face = FontRef::try_from_slice(data).ok()?;
    let (head, loca, glyf) = (
        table(data, b"head")?,
        table(data, b"loca")?,
        table(data, b"glyf")?,
    );
    let long = u16_at(head, 50)? == 1;
    let offset = |glyph: usize| {
        if long {
            Some(u32_at(loca, 4 * glyph)? as usize)
        } else {
            Some(2 * usize::from(u16_at(loca, 2 * glyph)?))
        }
    };
    let outline = |glyph: usize| glyf.get(offset(glyph)?..offset(glyph + 1)?);

    // Glyph 0 stands for what the font does not have.
    let mapping: Vec<(u32, u16)> = characters
        .iter()
        .map(|&c| (u32::from(c), face.glyph_id(c).0))
        .filter(|&(_, glyph)| glyph != 0)
        .collect();
    let mut needed: BTreeSet<u16> = mapping.iter().map(|m| m.1).chain([0]).collect();
    let mut open: Vec<u16> = needed.iter().copied().collect();
    while let Some(glyph) = open.pop() {
        for part in parts(outline(usize::from(glyph))?)? {
            if needed.insert(part) {
                open.push(part);
            }
        }
    }
    let count = usize::from(*needed.last()?) + 1;

    let (mut new_glyf, mut new_loca, mut new_hmtx) = (Vec::new(), Vec::new(), Vec::new());
    let (hhea, hmtx) = (table(data, b"hhea")?, table(data, b"hmtx")?);
    let metrics = usize::from(u16_at(hhea, 34)?);
    for glyph in 0..count {
        new_loca.extend(u32::try_from(new_glyf.len()).ok()?.to_be_bytes());
        let wanted = u16::try_from(glyph).is_ok_and(|g| needed.contains(&g));
        if wanted {
            new_glyf.extend_from_slice(outline(glyph)?);
            new_glyf.resize(new_glyf.len().next_multiple_of(4), 0);
        }
        // Beyond the last full metric, only the bearing is stored.
        let advance = u16_at(hmtx, 4 * glyph.min(metrics.checked_sub(1)?))?;
        let bearing = if glyph < metrics {
            u16_at(hmtx, 4 * glyph + 2)?
        } else {
            u16_at(hmtx, 4 * metrics + 2 * (glyph - metrics))?
        };
        new_hmtx.extend(if wanted { advance } else { 0 }.to_be_bytes());
        new_hmtx.extend(if wanted { bearing } else { 0 }.to_be_bytes());
    }
    new_loca.extend(u32::try_from(new_glyf.len()).ok()?.to_be_bytes());

    let count = u16::try_from(count).ok()?;
    let mut new_head = head.to_vec();
    new_head.get_mut(8..12)?.fill(0);
    new_head
        .get_mut(50..52)?
        .copy_from_slice(&1u16.to_be_bytes());
    let mut new_hhea = hhea.to_vec();
    new_hhea
        .get_mut(34..36)?
        .copy_from_slice(&count.to_be_bytes());
    let mut new_maxp = table(data, b"maxp")?.to_vec();
    new_maxp
        .get_mut(4..6)?
        .copy_from_slice(&count.to_be_bytes());
    // Version 3 of post has no glyph names.
    let mut new_post = table(data, b"post")?.get(..32)?.to_vec();
    new_post
        .get_mut(..4)?
        .copy_from_slice(&0x0003_0000u32.to_be_bytes());

    let tables: [(&[u8; 4], Vec<u8>); 10] = [
        (b"OS/2", table(data, b"OS/2")?.to_vec()),
        (b"cmap", cmap(&mapping)?),
        (b"glyf", new_glyf),
        (b"head", new_head),
        (b"hhea", new_hhea),
        (b"hmtx", new_hmtx),
        (b"loca", new_loca),
        (b"maxp", new_maxp),
        // No names.
        (
            b"name",
            [0u16, 0, 6].iter().flat_map(|n| n.to_be_bytes()).collect(),
        ),
        (b"post", new_post),
    ];
    assemble(&tables)
}

/// The glyphs that a compound glyph is made of; none for a simple one.
fn parts(outline: &[u8]) -> Option<Vec<u16>> {
    let mut parts = Vec::new();
    // A negative number of contours marks a compound glyph.
    if outline.is_empty() || u16_at(outline, 0)? < 0x8000 {
        return Some(parts);
    }
    let mut at = 10;
    loop {
        let flags = u16_at(outline, at)?;
        parts.push(u16_at(outline, at + 2)?);
        // Two arguments of one or two bytes, then one, two or four numbers of scale.
        at += 4 + if flags & 0x0001 != 0 { 4 } else { 2 };
        at += if flags & 0x0008 != 0 {
            2
        } else if flags & 0x0040 != 0 {
            4
        } else if flags & 0x0080 != 0 {
            8
        } else {
            0
        };
        if flags & 0x0020 == 0 {
            return Some(parts);
        }
    }
}

/// From characters to glyphs: one subtable for all of Unicode, format 12.
fn cmap(mapping: &[(u32, u16)]) -> Option<Vec<u8>> {
    let mut out: Vec<u8> = [0u16, 1, 3, 10]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    out.extend(12u32.to_be_bytes());
    out.extend([12u16, 0].iter().flat_map(|n| n.to_be_bytes()));
    let groups = u32::try_from(mapping.len()).ok()?;
    out.extend(
        [16 + 12 * groups, 0, groups]
            .iter()
            .flat_map(|n| n.to_be_bytes()),
    );
    for &(character, glyph) in mapping {
        out.extend(
            [character, character, u32::from(glyph)]
                .iter()
                .flat_map(|n| n.to_be_bytes()),
        );
    }
    Some(out)
}

/// The sum of a table as numbers of 32 bits.
fn checksum(data: &[u8]) -> u32 {
    data.chunks(4).fold(0u32, |sum, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

/// A font file of these tables, which are sorted by tag.
fn assemble(tables: &[(&[u8; 4], Vec<u8>)]) -> Option<Vec<u8>> {
    let count = u16::try_from(tables.len()).ok()?;
    let power = count.checked_ilog2()?;
    let range = 16 * (1u16 << power);
    let mut out = 0x0001_0000u32.to_be_bytes().to_vec();
    out.extend(
        [count, range, u16::try_from(power).ok()?, 16 * count - range]
            .iter()
            .flat_map(|n| n.to_be_bytes()),
    );
    let mut start = 12 + 16 * tables.len();
    let mut head = None;
    for (tag, data) in tables {
        out.extend_from_slice(*tag);
        if *tag == b"head" {
            head = Some(start);
        }
        for number in [
            checksum(data),
            u32::try_from(start).ok()?,
            u32::try_from(data.len()).ok()?,
        ] {
            out.extend(number.to_be_bytes());
        }
        start += data.len().next_multiple_of(4);
    }
    for (_, data) in tables {
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    // The sum over the whole file, by which readers check it.
    let adjustment = 0xB1B0_AFBAu32.wrapping_sub(checksum(&out));
    let head = head?;
    out.get_mut(head + 8..head + 12)?
        .copy_from_slice(&adjustment.to_be_bytes());
    Some(out)
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ab_glyph::OutlinedGlyph;

    #[test]
    fn base64_of_known_texts() {
        for (text, code) in [("", ""), ("M", "TQ=="), ("Ma", "TWE="), ("Man", "TWFu")] {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    #[test]
    fn a_subset_draws_the_same_glyphs() {
        let characters: BTreeSet<char> = "Time (s) 10−3 λ é Å".chars().collect();
        for data in [REGULAR, BOLD, ITALIC] {
            let small = subset(data, &characters).unwrap();
            assert!(small.len() < data.len() / 8, "{} bytes", small.len());
            let (whole, part) = (
                FontRef::try_from_slice(data).unwrap(),
                FontRef::try_from_slice(&small).unwrap(),
            );
            for &c in &characters {
                let bounds = |font: &FontRef| {
                    let glyph = font.glyph_id(c).with_scale(100.0);
                    font.outline_glyph(glyph)
                        .as_ref()
                        .map(OutlinedGlyph::px_bounds)
                };
                assert_eq!(bounds(&whole), bounds(&part), "{c}");
                let advance = |font: &FontRef| font.h_advance_unscaled(font.glyph_id(c));
                assert_eq!(advance(&whole), advance(&part), "{c}");
            }
            assert_eq!(part.glyph_id('Z').0, 0);
            assert_eq!(checksum(&small), 0xB1B0_AFBA);
        }
    }
}
