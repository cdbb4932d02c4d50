use super::*;
use crate::npy::read_npz;
use proptest::prelude::*;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(file)
}

fn read(name: &str) -> Tensors {
    read_torch(&fixture(&format!("{name}.pt"))).unwrap()
}

/// Reads an archive that lies in memory, under the name `crafted.pt`.
fn read_bytes(bytes: &[u8]) -> Result<Tensors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crafted.pt");
    fs::write(&path, bytes).unwrap();
    read_torch(&path)
}

/// The message for an archive that must be refused; it names the file, and the fault lies in the input.
fn refusal(bytes: &[u8]) -> String {
    let error = read_bytes(bytes).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
    let text = error.to_string();
    assert!(text.contains("crafted.pt: "), "{text}");
    text
}

fn assert_refused(bytes: &[u8], expected: &str) {
    let text = refusal(bytes);
    assert!(text.contains(expected), "{text}\nlacks {expected}");
}

/// An archive of these entries, stored or compressed.
fn archive_with(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(entries, CompressionMethod::Stored)
}

/// An archive of a pickle and one storage, `0`, of the numbers 0, 1, 2... in f32.
fn of_pickle(pickle: &[u8], numbers: usize) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &ramp(numbers))])
}

fn ramp(numbers: usize) -> Vec<u8> {
    (0..numbers)
        .flat_map(|k| (k as f32).to_le_bytes())
        .collect()
}

/// A pickle between its beginning and its end.
fn whole(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// An integer as LONG1.
fn long(x: i64) -> Vec<u8> {
    [b"\x8a\x08", &x.to_le_bytes()[..]].concat()
}

fn tuple(items: &[i64]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|x| long(*x)).collect();
    [b"(", &items[..], b"t"].concat()
}

/// The tensor of a storage of the f32 archive, as torch writes it but for the memo.
fn tensor_of(key: &str, length: i64, offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        long(length),
        b"tQ".to_vec(),
        long(offset),
        tuple(sizes),
        tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// {"w": tensor}
fn dict_of(tensor: &[u8]) -> Vec<u8> {
    whole(&[b"}", &text("w")[..], tensor, b"s"].concat())
}

fn numbers(tensors: &Tensors, name: &str) -> Vec<f64> {
    match tensors.get(name).unwrap() {
        Tensor::F32(array) => array.iter().map(|&x| f64::from(x)).collect(),
        Tensor::F64(array) => array.iter().copied().collect(),
        Tensor::I64(array) => array.iter().map(|&x| x as f64).collect(),
        Tensor::U64(array) => array.iter().map(|&x| x as f64).collect(),
    }
}

/// The numbers, shapes, names and their order are those that numpy wrote beside.
#[test]
fn every_tensor_is_what_torch_says_it_is() {
    for name in [
        "gru_flip_flop",
        "lstm_flip_flop",
        "rnn_readout",
        "checkpoint",
        "data_parallel",
        "parameters",
        "views",
        "types",
    ] {
        let tensors = read(name);
        let expected = read_npz(&fixture(&format!("{name}.npz"))).unwrap();
        let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(tensors.names().collect::<Vec<_>>(), names, "{name}");
        for (key, array) in &expected {
            assert_eq!(
                tensors.get(key).unwrap().shape(),
                array.shape(),
                "{name} {key}"
            );
            let ours: Vec<u64> = numbers(&tensors, key).iter().map(|x| x.to_bits()).collect();
            let theirs: Vec<u64> = array.iter().map(|x| x.to_bits()).collect();
            assert_eq!(ours, theirs, "{name} {key}");
        }
    }
    assert_eq!(read("views").get("transposed").unwrap().shape(), [6, 4]);
    assert_eq!(
        read("data_parallel").names().next(),
        Some("module.rnn.weight_ih_l0")
    );
}

#[test]
fn number_types_become_those_of_the_program() {
    let types = read("types");
    for (name, expected) in [
        ("float16", "F32"),
        ("bfloat16", "F32"),
        ("float32", "F32"),
        ("float64", "F64"),
        ("int8", "I64"),
        ("int64", "I64"),
        ("uint8", "U64"),
        ("bool", "U64"),
    ] {
        assert_eq!(types.get(name).unwrap().number_type(), expected, "{name}");
    }
}

/// Which dict of a checkpoint was taken, and what stands beside it.
#[test]
fn the_state_dict_of_a_checkpoint_is_found() {
    let metadata =
        |name: &str| -> Vec<(String, String)> { read(name).metadata.into_iter().collect() };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    };
    assert_eq!(metadata("gru_flip_flop"), []);
    assert_eq!(
        metadata("checkpoint"),
        pairs(&[
            ("epoch", "3"),
            ("finished", "false"),
            ("loss", "0.25"),
            ("name", "a checkpoint"),
            ("state_dict", "model_state_dict"),
        ])
    );
    assert_eq!(
        metadata("data_parallel"),
        pairs(&[("nonlinearity", "tanh"), ("state_dict", "state_dict")])
    );
    assert_eq!(
        metadata("parameters"),
        pairs(&[("state_dict", "generation.net")])
    );

    // Dicts side by side: the usual name, or all of them, but for the optimiser's.
    let one = tensor_of("0", 2, 0, &[2], &[1]);
    let dicts = |names: &[&str]| {
        let items: Vec<u8> = names
            .iter()
            .flat_map(|name| [&text(name)[..], b"}", &text("w")[..], &one[..], b"s"].concat())
            .collect();
        let bytes = of_pickle(&whole(&[b"}(", &items[..], b"u"].concat()), 2);
        let tensors = read_bytes(&bytes).unwrap();
        tensors.names().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        dicts(&["encoder", "decoder", "optimizer"]),
        ["encoder.w", "decoder.w"]
    );
    assert_eq!(dicts(&["ema", "model", "best"]), ["w"]);
    assert_eq!(dicts(&["optimizer"]), ["w"]);
    assert_eq!(dicts(&["model", "net"]), ["model.w", "net.w"]);
}

/// Files that torch itself wrote and that hold more than a state dict.
#[test]
fn what_torch_writes_beside_state_dicts_is_refused_with_advice() {
    let witness = Path::new("/tmp/nullcline-was-here");
    for (name, expected) in [
        (
            "refused_command",
            "data.pkl: found posix.system at byte 177; allowed: collections.OrderedDict, \
             torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter and torch's storages",
        ),
        (
            "refused_module",
            "found torch.nn.modules.rnn.GRU at byte 2; this is an object of that class, perhaps a whole model: save \
             model.state_dict() instead; allowed: ",
        ),
        (
            "refused_own_module",
            "found __main__.CellOfTheUser at byte 2; this is an object of that class, perhaps a whole model: save \
             model.state_dict() instead",
        ),
        (
            "refused_legacy",
            "the archive: found torch's format before version 1.6, or another pickle, not a zip archive; allowed: a zip \
             archive; in Python: torch.save(torch.load(FILE, weights_only=True), \"weights.pt\")",
        ),
        (
            "refused_protocol_4",
            "found pickle protocol 4 at byte 0; allowed: protocol 2, once, at the beginning: torch.save without \
             pickle_protocol=",
        ),
        (
            "refused_script",
            "found a TorchScript archive, which holds code; allowed: weights alone; in Python: \
             torch.save(torch.jit.load(FILE).state_dict(), \"weights.pt\")",
        ),
        ("refused_complex", "found torch.ComplexFloatStorage at byte"),
        (
            "refused_numpy",
            "found numpy._core.multiarray.scalar at byte",
        ),
        (
            "refused_expanded",
            "tensor \"weight\": found a view of shape [1000, 1000] with strides [0, 0] at offset 0 in a storage of 1 \
             numbers; allowed: a view that reads each number once; in Python: tensor.clone()",
        ),
        (
            "refused_list",
            "data.pkl: found a list; allowed: an archive that torch.save wrote",
        ),
    ] {
        let path = fixture(&format!("{name}.pt"));
        let error = read_torch(&path).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&path.display().to_string()) && text.contains(expected),
            "{text}\nlacks {expected}"
        );
        assert!(error.is_bad_input());
    }
    assert!(
        !witness.exists(),
        "a command was run, now or in an earlier test"
    );
}

/// The archives that the tests below are variations of can be read.
#[test]
fn a_plain_archive_is_read() {
    let view = |offset, sizes: &[i64], strides: &[i64]| {
        let bytes = of_pickle(&dict_of(&tensor_of("0", 12, offset, sizes, strides)), 12);
        numbers(&read_bytes(&bytes).unwrap(), "w")
    };
    assert_eq!(view(0, &[2, 3], &[3, 1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(view(6, &[2, 3], &[1, 2]), [6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
    assert_eq!(view(11, &[], &[]), [11.0]);
    assert_eq!(view(3, &[1, 2], &[0, 4]), [3.0, 7.0]);
    assert_eq!(view(0, &[0, 7], &[7, 1]), [] as [f64; 0]);

    let pickle = dict_of(&tensor_of("0", 1, 0, &[1], &[1]));
    for (order, number) in [
        ("little", 1.5_f32.to_le_bytes()),
        ("big", 1.5_f32.to_be_bytes()),
    ] {
        let bytes = archive(&[
            ("a/data.pkl", &pickle),
            ("a/byteorder", order.as_bytes()),
            ("a/data/0", &number),
        ]);
        assert_eq!(numbers(&read_bytes(&bytes).unwrap(), "w"), [1.5]);
    }
}

#[test]
fn views_that_leave_their_storage_are_refused() {
    let inside = "allowed: a view inside its storage";
    let max = i64::MAX;
    type Case<'a> = (i64, &'a [i64], &'a [i64], &'a str);
    let cases: &[Case] = &[
        (0, &[13], &[1], inside),
        (1, &[12], &[1], inside),
        (12, &[1], &[1], inside),
        (12, &[], &[], inside),
        (max, &[2], &[1], inside),
        (0, &[4, 3], &[4, 1], inside),
        (0, &[max], &[1], inside),
        (0, &[max, max], &[max, 1], inside),
        (0, &[0, max, max], &[1, 1, 1], inside),
        (0, &[2, 2], &[1, 1], "reads each number once"),
        (0, &[1_000_000_000_000_000], &[0], "reads each number once"),
        (
            -1,
            &[2],
            &[1],
            "whose offset is the integer -1; allowed: an integer that is not negative",
        ),
        (0, &[-2], &[1], "whose size is the integer -2"),
        (1, &[2], &[-1], "whose stride is the integer -1"),
        (
            0,
            &[2],
            &[],
            "1 sizes and 0 strides; allowed: a stride for each size",
        ),
        (0, &[1; 65], &[1; 65], "65 axes; allowed: at most 64"),
    ];
    for (offset, sizes, strides, expected) in cases {
        let pickle = dict_of(&tensor_of("0", 12, *offset, sizes, strides));
        assert_refused(&of_pickle(&pickle, 12), expected);
    }
}

#[test]
fn storages_that_are_not_what_is_claimed_are_refused() {
    for length in [1_000_000_000_000_000, i64::MAX, 13, 11] {
        let pickle = dict_of(&tensor_of("0", length, 0, &[2], &[1]));
        assert_refused(
            &of_pickle(&pickle, 12),
            &format!(
                "tensor \"w\": found a storage \"0\" of 48 bytes, said to be {length} numbers of 4 bytes; allowed: a \
                 storage of the size that is stated"
            ),
        );
    }
    let with = |key: &str, length| of_pickle(&dict_of(&tensor_of(key, length, 0, &[2], &[1])), 12);
    assert_refused(&with("0", -1), "a storage of -1 numbers at byte");
    assert_refused(&with("1", 12), "missing the entry \"a/data/1\"");
    for key in [
        "../../etc/passwd",
        "",
        "0/../0",
        "\u{0661}",
        "000000000000000000000",
    ] {
        assert_refused(&with(key, 12), "allowed: a storage named by a number");
    }

    // One storage under many names is allowed a few times only.
    let one = tensor_of("0", 1000, 0, &[1000], &[1]);
    let many = |count: usize| {
        let items: Vec<u8> = (0..count)
            .flat_map(|k| [text(&format!("w{k}")), one.clone()].concat())
            .collect();
        of_pickle(&whole(&[b"}(", &items[..], b"u"].concat()), 1000)
    };
    assert_eq!(read_bytes(&many(10)).unwrap().len(), 10);
    let shared = {
        // The tensor itself once, then out of the memo.
        let items: Vec<u8> = (0..1000)
            .flat_map(|k| [text(&format!("w{k}")), b"h\0".to_vec()].concat())
            .collect();
        let body = [b"}(", &text("w")[..], &one, b"q\0", &items, b"u"].concat();
        of_pickle(&whole(&body), 1000)
    };
    assert_refused(
        &shared,
        "allowed: tensors of at most 16 times the size of the file together",
    );
}

/// Calls, classes, attributes and instructions other than those of a state dict, each by its name.
#[test]
fn other_instructions_are_refused_by_name() {
    let one = tensor_of("0", 12, 0, &[2], &[1]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"cos\nsystem\nX\x02\0\0\0ls\x85R".to_vec(),
            "found os.system at byte 2; allowed: collections.OrderedDict",
        ),
        (
            b"cbuiltins\neval\n".to_vec(),
            "found builtins.eval at byte 2",
        ),
        (
            b"ctorch\nFloatStorage\n)R".to_vec(),
            "a call of a storage's class with 0 arguments at byte 23",
        ),
        (b"ctorch\nload\n".to_vec(), "found torch.load at byte 2"),
        (
            b"ctorch.storage\nFloatStorage\n".to_vec(),
            "found torch.storage.FloatStorage",
        ),
        (
            b"ctorch\nUntypedStorage\n".to_vec(),
            "found torch.UntypedStorage",
        ),
        (
            b"ccollections\nOrderedDict\n]\x85R".to_vec(),
            "a call of OrderedDict with 1 arguments",
        ),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n)R".to_vec(),
            "a call of _rebuild_tensor_v2 with 0 arguments",
        ),
        (
            b"ctorch._utils\n_rebuild_parameter\nK\x01K\x01K\x01\x87R".to_vec(),
            "a call of _rebuild_parameter with 3",
        ),
        (
            b"X\x02\0\0\0os)R".to_vec(),
            "a call at byte 10 of the text \"os\" with a tuple",
        ),
        (
            b"ccollections\nOrderedDict\n)\x81".to_vec(),
            "the instruction NEWOBJ (0x81) at byte 28",
        ),
        (
            b"(ios\nsystem\n".to_vec(),
            "the instruction INST (0x69) at byte 3",
        ),
        (b"(N o".to_vec(), "the instruction 0x20 at byte 4"),
        (b"(No".to_vec(), "the instruction OBJ (0x6f) at byte 4"),
        (
            b"N\x93".to_vec(),
            "the instruction STACK_GLOBAL (0x93) at byte 3",
        ),
        (b"\x82\x01".to_vec(), "the instruction EXT (0x82) at byte 2"),
        (b"P1\n".to_vec(), "the instruction PERSID (0x50) at byte 2"),
        (b"N2".to_vec(), "the instruction DUP (0x32) at byte 3"),
        (
            b"}}b".to_vec(),
            "attributes at byte 4, a dict, for a dict; allowed: attributes of a collections.OrderedDict",
        ),
        (
            b"ccollections\nOrderedDict\n)R]b".to_vec(),
            "attributes at byte 30, a list, for a dict",
        ),
        (
            b"NQ".to_vec(),
            "a persistent id at byte 3 that is no storage of torch's",
        ),
        (
            b"\x80\x02".to_vec(),
            "pickle protocol 2 at byte 2; allowed: protocol 2, once",
        ),
        (
            [b"]", &one[..], b"s"].concat(),
            "an instruction without its value at byte 161",
        ),
        (b"}N]u".to_vec(), "an instruction without its mark"),
        (b"](a".to_vec(), "an instruction without its values"),
        (b"}(Nu".to_vec(), "a key without a value"),
        (
            b"](u".to_vec(),
            "keys and values given to a list; allowed: to a dict",
        ),
        (
            b"}Na".to_vec(),
            "values appended to a dict; allowed: to a list",
        ),
        (b"}q\0q\0".to_vec(), "memo entry 0 written twice"),
        (b"h\x07".to_vec(), "memo entry 7, which was never written"),
        (
            b"j\xff\xff\xff\xff".to_vec(),
            "memo entry 4294967295, which was never written",
        ),
        (
            b"X\xff\xff\xff\xffos".to_vec(),
            "the end after 10 bytes, where 4294967295 more were to follow byte 7",
        ),
        (
            b"X\x02\0\0\0\xff\xff".to_vec(),
            "a text at byte 2 that is not UTF-8",
        ),
        (
            b"c\xff\n".to_vec(),
            "a name at byte 3 that is cut short, not UTF-8 or longer than 200 bytes",
        ),
        (b"NN".to_vec(), "values left over at the end"),
        (b"(}".to_vec(), "values left over at the end, byte 4"),
        (
            b"}".to_vec(),
            "data.pkl: found a dict without tensors; allowed: an archive that torch.save wrote",
        ),
        (
            b"X\x02\0\0\0os".to_vec(),
            "data.pkl: found the text \"os\"; allowed: an archive that torch.save wrote",
        ),
    ];
    for (body, expected) in cases {
        assert_refused(&of_pickle(&whole(&body), 12), expected);
    }
    // Without an end, without a beginning, and without anything.
    assert_refused(
        &of_pickle(b"\x80\x02}", 0),
        "the end after 3 bytes, where 1 more were to follow byte 3",
    );
    assert_refused(
        &of_pickle(b"}.", 0),
        "a beginning with 0x7d; allowed: PROTO 2",
    );
    assert_refused(&of_pickle(b"", 0), "the end after 0 bytes");
}

/// Depth, loops and repetition cost nothing but the refusal.
#[test]
fn structures_without_end_are_refused() {
    let started = Instant::now();
    let deep = [&b"]".repeat(300_000)[..], &b"a".repeat(299_999)].concat();
    assert_refused(
        &of_pickle(&whole(&deep), 0),
        "containers nested deeper than 64",
    );
    assert_refused(
        &of_pickle(&whole(&[b")", &b"\x85".repeat(100_000)[..]].concat()), 0),
        "containers nested deeper than 64",
    );
    assert_refused(
        &of_pickle(&whole(&b"(".repeat(100_000)), 0),
        "containers nested deeper than 64",
    );

    let one = tensor_of("0", 2, 0, &[2], &[1]);
    let nested = |levels: usize| {
        // {"d": {"d": ... {"w": tensor}}}, opened from the outside.
        let open: Vec<u8> = (0..levels)
            .flat_map(|_| [b"}".to_vec(), text("d")].concat())
            .collect();
        let body = [
            &open[..],
            b"}",
            &text("w"),
            &one,
            b"s",
            &b"s".repeat(levels),
        ]
        .concat();
        of_pickle(&whole(&body), 2)
    };
    assert_eq!(
        read_bytes(&nested(10)).unwrap().names().collect::<Vec<_>>(),
        ["w"]
    );
    assert_refused(&nested(30), "dicts nested deeper than 16");

    // A dict in itself, by the memo; and one in a dict that it contains.
    let own = [b"}q\0", &text("own")[..], b"h\0s"].concat();
    assert_refused(
        &of_pickle(&whole(&own), 0),
        "found a dict that contains itself",
    );
    let mutual = [b"}q\0", &text("a")[..], b"}", &text("b"), b"h\0ss"].concat();
    assert_refused(
        &of_pickle(&whole(&mutual), 0),
        "found a dict that contains itself",
    );

    // Each dict holds the one before twice: 2^15 ways to one tensor, and as many keys.
    let mut body = [b"}", &text("w")[..], &one, b"sq\0"].concat();
    for k in 0..15_u8 {
        body = [
            &b"}("[..],
            &text("x")[..],
            &body,
            &text("y"),
            b"h",
            &[k],
            b"uq",
            &[k + 1],
        ]
        .concat();
    }
    assert_refused(
        &of_pickle(&whole(&body), 2),
        "found more than 20000 tensors; allowed: at most 20000",
    );
    let mut body = b"}q\0".to_vec();
    for k in 0..15_u8 {
        let again: Vec<u8> = (0..9)
            .flat_map(|n| [text(&format!("{n}")), vec![b'h', k]].concat())
            .collect();
        body = [&b"}("[..], &text("x")[..], &body, &again, b"uq", &[k + 1]].concat();
    }
    assert_refused(
        &of_pickle(&whole(&body), 2),
        "more than 200000 keys, a dict that is reached twice counted twice",
    );

    let long_name = dict_of(&one);
    let name = "w".repeat(400);
    let body = [
        b"}",
        &text(&name)[..],
        b"}",
        &text(&name),
        b"}",
        &text(&name),
        &one,
        b"sss",
    ]
    .concat();
    assert!(read_bytes(&of_pickle(&long_name, 2)).is_ok());
    assert_refused(
        &of_pickle(&whole(&body), 2),
        "found a name of more than 1000 bytes",
    );
    let twice = [b"}(", &text("w")[..], &one, &text("w"), &one, b"u"].concat();
    assert_refused(
        &of_pickle(&whole(&twice), 2),
        "found the tensor \"w\" twice; allowed: each name once",
    );
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn archives_that_are_not_what_torch_writes_are_refused() {
    let pickle = dict_of(&tensor_of("0", 12, 0, &[2], &[1]));
    let numbers = ramp(12);
    let good: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle), ("a/data/0", &numbers)];
    assert!(read_bytes(&archive(&good)).is_ok());

    // A bomb: a few kilobytes that would unpack to many megabytes.
    let zeros = vec![0; 64 << 20];
    let bomb = archive_with(
        &[("a/data.pkl", &pickle), ("a/data/0", &zeros)],
        CompressionMethod::Deflated,
    );
    assert!(bomb.len() < 200_000);
    assert_refused(
        &bomb,
        "the archive: found the entry \"a/data.pkl\", compressed (Deflated); allowed: entries stored as they are",
    );

    for name in [
        "../data/0",
        "a/../../data/0",
        "/a/data/0",
        "a//0",
        "a\\..\\0",
        "C:/data/0",
        "a/./0",
    ] {
        let bytes = archive(&[good[0], good[1], (name, b"0")]);
        assert!(
            contains(&bytes, name.as_bytes()),
            "the writer changed {name:?}"
        );
        assert_refused(&bytes, "allowed: names inside the archive");
    }

    // One name twice, in the directory as well as before each entry.
    let double = archive(&[good[0], good[1], ("a/data/1", &ramp(11))]);
    let double = replaced(&double, b"a/data/1", b"a/data/0");
    assert_refused(
        &double,
        "the archive: found the entry \"a/data/0\" twice; allowed: each entry once",
    );

    assert_refused(
        &archive(&[good[0], good[1], ("b/data.pkl", b"")]),
        "found 2 entries \"data.pkl\" in a folder; allowed: an archive that torch.save wrote",
    );
    assert_refused(
        &archive(&[good[1]]),
        "found 0 entries \"data.pkl\" in a folder",
    );
    assert_refused(
        &archive(&[("data.pkl", &pickle)]),
        "found 0 entries \"data.pkl\" in a folder",
    );
    assert_refused(&archive(&[]), "found 0 entries \"data.pkl\" in a folder");
    assert_refused(
        &archive(&[good[0], good[1], ("a/byteorder", b"middle")]),
        "the entry \"byteorder\": found \"middle\"; allowed: \"little\" or \"big\"",
    );
    assert_refused(b"PK", "the archive: found");
    assert_refused(b"", "the archive: found");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    assert_refused(&tar, "torch's format before version 1.6");

    // Two entries over the same bytes: the second's place in the directory is moved to that of the first.
    let two = archive(&[good[0], good[1], ("a/data/1", &numbers)]);
    assert!(read_bytes(&two).is_ok());
    let first = position(&two, b"a/data/0") - 30;
    let header = last_position(&two, b"a/data/1") - 46;
    let mut overlapping = two.clone();
    overlapping[header + 42..header + 46].copy_from_slice(&(first as u32).to_le_bytes());
    assert_refused(
        &overlapping,
        "found entries that overlap; allowed: entries apart from each other",
    );

    // An entry said to reach beyond the file.
    let mut endless = two.clone();
    for size in [20, 24] {
        endless[header + size..header + size + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    }
    assert_refused(
        &endless,
        "the entry \"a/data/1\", cut short; allowed: a whole archive",
    );
    let mut unequal = two;
    unequal[header + 24..header + 28].copy_from_slice(&7_u32.to_le_bytes());
    assert_refused(&unequal, "the entry \"a/data/1\" of 48 bytes, said to be 7");
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .position(|window| window == part)
        .unwrap()
}

fn last_position(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .rposition(|window| window == part)
        .unwrap()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while contains(&bytes, from) {
        let at = position(&bytes, from);
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_file_cut_anywhere_or_absent_is_an_error() {
    let whole = fs::read(fixture("rnn_readout.pt")).unwrap();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        refusal(&whole[..length]);
    }
    let error = read_torch(Path::new("no.pt")).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

/// A flipped bit in the numbers is seen, by the checksum.
#[test]
fn damaged_numbers_are_seen() {
    let mut bytes = fs::read(fixture("rnn_readout.pt")).unwrap();
    let place = position(&bytes, b"rnn_readout/data/0") + 100;
    bytes[place] ^= 1;
    assert_refused(
        &bytes,
        "the entry \"rnn_readout/data/0\": found Invalid checksum; allowed: a whole entry",
    );
}

/// The pickle of a fixture.
fn pickle_of(name: &str) -> Vec<u8> {
    let bytes = fs::read(fixture(&format!("{name}.pt"))).unwrap();
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut content = Vec::new();
    let full = format!("{name}/data.pkl");
    zip.by_name(&full)
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever bytes of a good file change, the answer comes soon, and is tensors or a message.
    #[test]
    fn damaged_files_are_no_danger(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        name in prop::sample::select(vec!["checkpoint", "views", "types"]),
    ) {
        let started = Instant::now();
        let mut bytes = fs::read(fixture(&format!("{name}.pt"))).unwrap();
        for (index, value) in &flips {
            let place = index.index(bytes.len());
            bytes[place] = *value;
        }
        if let Err(error) = read_bytes(&bytes) {
            prop_assert!(error.is_bad_input() && error.to_string().contains("crafted.pt"), "{error}");
        }
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// The same with the checksums in order, so that the changes reach the pickle and the views.
    #[test]
    fn damaged_pickles_are_no_danger(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        name in prop::sample::select(vec!["checkpoint", "views", "types"]),
    ) {
        let started = Instant::now();
        let mut pickle = pickle_of(name);
        for (index, value) in &flips {
            let place = index.index(pickle.len());
            pickle[place] = *value;
        }
        if let Some(cut) = cut {
            pickle.truncate(cut.index(pickle.len()));
        }
        let storages: Vec<(String, Vec<u8>)> = (0..30).map(|k| (format!("a/data/{k}"), ramp(24))).collect();
        let mut entries: Vec<(&str, &[u8])> = vec![("a/data.pkl", &pickle)];
        entries.extend(storages.iter().map(|(name, content)| (name.as_str(), &content[..])));
        match read_bytes(&archive(&entries)) {
            Ok(tensors) => prop_assert!(tensors.len() <= MAX_TENSORS),
            Err(error) => prop_assert!(error.is_bad_input(), "{error}"),
        }
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// Any view with a storage of its size comes out as ndarray has it.
    #[test]
    fn views_are_those_of_ndarray(
        shape in prop::collection::vec(1_usize..4, 1..4),
        order in any::<prop::sample::Index>(),
        offset in 0_usize..3,
    ) {
        let count: usize = shape.iter().product();
        let array = ndarray::ArrayD::from_shape_fn(IxDyn(&shape), |_| 0_u8);
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        axes.rotate_left(order.index(shape.len()));
        let sizes: Vec<i64> = axes.iter().map(|&axis| shape[axis] as i64).collect();
        let strides: Vec<i64> = axes.iter().map(|&axis| array.strides()[axis] as i64).collect();
        let length = count + offset;
        let pickle = dict_of(&tensor_of("0", length as i64, offset as i64, &sizes, &strides));
        let tensors = read_bytes(&of_pickle(&pickle, length)).unwrap();
        let numbers: Vec<f32> = (offset..length).map(|k| k as f32).collect();
        let expected = ArrayD::from_shape_vec(IxDyn(&shape), numbers).unwrap().permuted_axes(axes);
        prop_assert_eq!(tensors.f32("w").unwrap(), &expected);
    }
}
