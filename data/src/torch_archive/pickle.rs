//! The pickle inside a torch archive, read as data.
//!
//! A pickle is a program for a small stack machine, and in Python two of its instructions, GLOBAL and REDUCE,
//! import and call anything. Here they name one of six things that a state dict is made of, each of which is
//! a line of this file; nothing is looked up, imported or called. The other instructions are those that
//! torch's protocol 2 writes for numbers, texts, tuples, lists and dicts; every other instruction is refused.
//!
//! Values live in one arena and refer to each other by index, as a pickle's own memo does. A dict that holds
//! itself is then an index and no cycle of owners, and dropping a deep structure does not recurse.

use std::collections::HashMap;

/// The bytes that a pickle may have. A state dict needs a few hundred a tensor; its numbers are elsewhere.
const MAX_BYTES: usize = 64 << 20;
/// Values that a pickle may make.
const MAX_VALUES: usize = 1 << 21;
/// Containers inside containers.
const MAX_DEPTH: u32 = 64;
/// Bytes of a name: of a global, or of a key that is quoted in an error.
const MAX_NAME: usize = 200;
/// torch's own limit on the axes of a tensor.
const MAX_AXES: usize = 64;

/// What the globals are that a state dict needs, for errors.
pub(super) const ALLOWED_GLOBALS: &str = "collections.OrderedDict, torch._utils._rebuild_tensor_v2, \
     torch._utils._rebuild_parameter and torch's storages (torch.FloatStorage and so on), which are all that the \
     file of a state dict has: torch.save(model.state_dict(), \"weights.pt\")";

/// What is wrong with a pickle: what was found, and what is allowed in its place.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub found: String,
    pub allowed: String,
}

type Outcome<T> = Result<T, Fault>;

fn fault<T>(found: impl Into<String>, allowed: impl Into<String>) -> Outcome<T> {
    Err(Fault {
        found: found.into(),
        allowed: allowed.into(),
    })
}

/// The number type of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    Bool,
}

impl Element {
    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Element::I8 | Element::U8 | Element::Bool => 1,
            Element::F16 | Element::BF16 | Element::I16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::F64 | Element::I64 => 8,
        }
    }

    fn of_storage(class: &str) -> Option<Element> {
        Some(match class {
            "HalfStorage" => Element::F16,
            "BFloat16Storage" => Element::BF16,
            "FloatStorage" => Element::F32,
            "DoubleStorage" => Element::F64,
            "CharStorage" => Element::I8,
            "ShortStorage" => Element::I16,
            "IntStorage" => Element::I32,
            "LongStorage" => Element::I64,
            "ByteStorage" => Element::U8,
            "BoolStorage" => Element::Bool,
            _ => return None,
        })
    }
}

/// The numbers of an entry of the archive, as the pickle describes them. The entry itself has the last word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub element: Element,
    /// The entry's name in the archive's folder `data`: decimal digits.
    pub key: String,
    /// Numbers in the storage, as claimed.
    pub length: u64,
}

/// A tensor: a view into a storage. Checked are the signs and the equal number of sizes and strides; whether
/// the view stays inside the storage is for the reader of the storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub storage: Storage,
    pub offset: u64,
    pub sizes: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The callables and classes that a state dict names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// A value; containers, texts, storages and tensors are indices into the arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Flag(bool),
    Integer(i64),
    /// An integer beyond 64 bits; a seed, perhaps.
    Large,
    Float(f64),
    Text(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Tensor(usize),
    Storage(usize),
    Global(GlobalIndex),
}

/// A global on the stack; opaque to those who read the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GlobalIndex(Global);

#[derive(Debug)]
enum Object {
    Text(String),
    /// A tuple or a list.
    Sequence(Vec<Value>),
    Dict {
        items: Vec<(Value, Value)>,
        ordered: bool,
    },
    Storage(Storage),
    Tensor(View),
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    /// How deep containers lie inside each object, as far as known when it was filled.
    depths: Vec<u32>,
    root: Value,
}

impl Pickle {
    /// The value that the pickle is.
    pub(super) fn root(&self) -> Value {
        self.root
    }

    /// The text of an index.
    pub(super) fn text(&self, index: usize) -> &str {
        match self.objects.get(index) {
            Some(Object::Text(text)) => text,
            _ => "",
        }
    }

    /// Keys and values of the dict of an index, in the file's order.
    pub(super) fn dict(&self, index: usize) -> &[(Value, Value)] {
        match self.objects.get(index) {
            Some(Object::Dict { items, .. }) => items,
            _ => &[],
        }
    }

    /// The tensor of an index.
    pub(super) fn tensor(&self, index: usize) -> Option<&View> {
        match self.objects.get(index) {
            Some(Object::Tensor(view)) => Some(view),
            _ => None,
        }
    }

    fn sequence(&self, index: usize) -> &[Value] {
        match self.objects.get(index) {
            Some(Object::Sequence(items)) => items,
            _ => &[],
        }
    }

    /// What a value is, as a noun phrase.
    pub(super) fn describe(&self, value: Value) -> String {
        match value {
            Value::None => "None".into(),
            Value::Flag(flag) => if flag { "True" } else { "False" }.into(),
            Value::Integer(x) => format!("the integer {x}"),
            Value::Large => "an integer beyond 64 bits".into(),
            Value::Float(x) => format!("the number {x}"),
            Value::Text(index) => format!("the text {:?}", shortened(self.text(index))),
            Value::Tuple(_) => "a tuple".into(),
            Value::List(_) => "a list".into(),
            Value::Dict(_) => "a dict".into(),
            Value::Tensor(_) => "a tensor".into(),
            Value::Storage(_) => "a storage".into(),
            Value::Global(_) => "a function or class".into(),
        }
    }

    fn push(&mut self, object: Object, depth: u32) -> Outcome<usize> {
        if self.objects.len() >= MAX_VALUES {
            return fault(
                format!("more than {MAX_VALUES} values"),
                "a state dict of at most that many",
            );
        }
        self.objects.push(object);
        self.depths.push(depth);
        Ok(self.objects.len() - 1)
    }

    /// How deep a container is that holds these values.
    fn depth_around(&self, items: &[Value]) -> Outcome<u32> {
        let inner = items.iter().map(|item| match item {
            Value::Tuple(index) | Value::List(index) | Value::Dict(index) => {
                self.depths.get(*index).copied().unwrap_or(0)
            }
            _ => 0,
        });
        let depth = 1 + inner.max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return too_deep();
        }
        Ok(depth)
    }

    fn deepen(&mut self, index: usize, items: &[Value]) -> Outcome<()> {
        let around = self.depth_around(items)?;
        if let Some(depth) = self.depths.get_mut(index) {
            *depth = around.max(*depth);
        }
        Ok(())
    }
}

fn too_deep<T>() -> Outcome<T> {
    fault(
        format!("containers nested deeper than {MAX_DEPTH}"),
        "a state dict, or a dict that contains one",
    )
}

/// The beginning of a text, for an error.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_NAME) {
        None => text.into(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// Reads a pickle.
pub(super) fn read(bytes: &[u8]) -> Outcome<Pickle> {
    if bytes.len() > MAX_BYTES {
        return fault(
            format!("{} bytes", bytes.len()),
            format!("at most {MAX_BYTES} bytes beside the numbers"),
        );
    }
    let mut machine = Machine {
        bytes,
        position: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        pickle: Pickle {
            objects: Vec::new(),
            depths: Vec::new(),
            root: Value::None,
        },
    };
    while machine.step()? {}
    Ok(machine.pickle)
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    pickle: Pickle,
}

impl<'a> Machine<'a> {
    /// One instruction; false after the last.
    fn step(&mut self) -> Outcome<bool> {
        let start = self.position;
        let [opcode] = self.array()?;
        if start == 0 && opcode != 0x80 {
            return fault(
                format!("a beginning with {}", name(opcode)),
                "PROTO 2, as torch.save writes",
            );
        }
        match opcode {
            0x80 => {
                let [version] = self.array()?;
                if start != 0 || version != 2 {
                    return fault(
                        format!("pickle protocol {version} at byte {start}"),
                        "protocol 2, once, at the beginning: torch.save without pickle_protocol=",
                    );
                }
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Flag(true)),
            0x89 => self.stack.push(Value::Flag(false)),
            b'K' => {
                let [x] = self.array()?;
                self.stack.push(Value::Integer(i64::from(x)));
            }
            b'M' => {
                let x = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Integer(i64::from(x)));
            }
            b'J' => {
                let x = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Integer(i64::from(x)));
            }
            0x8a => {
                let [length] = self.array()?;
                let digits = self.take(usize::from(length))?;
                self.stack.push(long(digits));
            }
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(x));
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                // More than usize holds is more than the file has.
                let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                let Ok(text) = std::str::from_utf8(bytes) else {
                    return fault(
                        format!("a text at byte {start} that is not UTF-8"),
                        "text in UTF-8",
                    );
                };
                let index = self.pickle.push(Object::Text(text.to_owned()), 0)?;
                self.stack.push(Value::Text(index));
            }
            b')' => self.push_tuple(Vec::new())?,
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push_tuple(items)?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_tuple(items)?;
            }
            b']' => {
                let index = self.pickle.push(Object::Sequence(Vec::new()), 1)?;
                self.stack.push(Value::List(index));
            }
            b'}' => {
                let value = self.new_dict(false)?;
                self.stack.push(value);
            }
            b'(' => {
                if self.marks.len() >= 4 * MAX_DEPTH as usize {
                    return too_deep();
                }
                self.marks.push(self.stack.len());
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
            b'q' => {
                let [index] = self.array()?;
                self.remember(u32::from(index))?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)?;
            }
            b'h' => {
                let [index] = self.array()?;
                self.recall(u32::from(index))?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            b'c' => self.global(start)?,
            b'Q' => self.storage(start)?,
            b'R' => self.reduce(start)?,
            b'b' => self.build(start)?,
            b'.' => {
                let root = self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return fault(
                        format!("values left over at the end, byte {start}"),
                        "one value, a dict",
                    );
                }
                self.pickle.root = root;
                return Ok(false);
            }
            _ => {
                return fault(
                    format!("the instruction {} at byte {start}", name(opcode)),
                    "what torch writes for a state dict: numbers, texts, tuples, lists, dicts and tensors",
                );
            }
        }
        Ok(true)
    }

    /// The next bytes of the file.
    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        match rest.get(..count) {
            Some(taken) => {
                self.position += count;
                Ok(taken)
            }
            None => fault(
                format!(
                    "the end after {} bytes, where {count} more were to follow byte {}",
                    self.bytes.len(),
                    self.position
                ),
                "a whole pickle",
            ),
        }
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next line, without its end.
    fn line(&mut self) -> Outcome<&'a str> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let window = rest.get(..rest.len().min(MAX_NAME + 1)).unwrap_or(rest);
        let line = window
            .iter()
            .position(|&byte| byte == b'\n')
            .and_then(|length| std::str::from_utf8(window.get(..length)?).ok());
        match line {
            Some(line) => {
                self.position += line.len() + 1;
                Ok(line)
            }
            None => fault(
                format!(
                    "a name at byte {} that is cut short, not UTF-8 or longer than {MAX_NAME} bytes",
                    self.position
                ),
                ALLOWED_GLOBALS,
            ),
        }
    }

    /// The top of the stack, above the last mark.
    fn pop(&mut self) -> Outcome<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        fault(
            format!(
                "an instruction without its values before byte {}",
                self.position
            ),
            "a whole pickle",
        )
    }

    /// The values above the last mark, and the mark itself.
    fn pop_mark(&mut self) -> Outcome<Vec<Value>> {
        match self.marks.pop() {
            // A value below the mark is never popped, so the stack is at least as high.
            Some(mark) => Ok(self.stack.split_off(mark.min(self.stack.len()))),
            None => fault(
                format!(
                    "an instruction without its mark before byte {}",
                    self.position
                ),
                "a whole pickle",
            ),
        }
    }

    /// The top of the stack where it stays.
    fn top(&self, start: usize) -> Outcome<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(value) if self.stack.len() > floor => Ok(*value),
            _ => fault(
                format!("an instruction without its value at byte {start}"),
                "a whole pickle",
            ),
        }
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Outcome<()> {
        let depth = self.pickle.depth_around(&items)?;
        let index = self.pickle.push(Object::Sequence(items), depth)?;
        self.stack.push(Value::Tuple(index));
        Ok(())
    }

    fn new_dict(&mut self, ordered: bool) -> Outcome<Value> {
        let items = Vec::new();
        Ok(Value::Dict(
            self.pickle.push(Object::Dict { items, ordered }, 1)?,
        ))
    }

    /// Adds values to the list on top of the stack.
    fn append(&mut self, items: Vec<Value>) -> Outcome<()> {
        let target = self.top(self.position)?;
        if let Value::List(index) = target {
            self.pickle.deepen(index, &items)?;
            if let Some(Object::Sequence(list)) = self.pickle.objects.get_mut(index) {
                list.extend(items);
                return Ok(());
            }
        }
        fault(
            format!("values appended to {}", self.pickle.describe(target)),
            "to a list",
        )
    }

    /// Adds keys and values, alternating, to the dict on top of the stack.
    fn set_items(&mut self, items: Vec<Value>) -> Outcome<()> {
        let target = self.top(self.position)?;
        if !items.len().is_multiple_of(2) {
            return fault("a key without a value", "keys with values");
        }
        if let Value::Dict(index) = target {
            self.pickle.deepen(index, &items)?;
            if let Some(Object::Dict { items: known, .. }) = self.pickle.objects.get_mut(index) {
                known.extend(items.chunks_exact(2).filter_map(|pair| match pair {
                    [key, value] => Some((*key, *value)),
                    _ => None,
                }));
                return Ok(());
            }
        }
        fault(
            format!("keys and values given to {}", self.pickle.describe(target)),
            "to a dict",
        )
    }

    fn remember(&mut self, index: u32) -> Outcome<()> {
        let value = self.top(self.position)?;
        if self.memo.len() >= MAX_VALUES {
            return fault(
                format!("a memo of more than {MAX_VALUES} values"),
                "a state dict of at most that many",
            );
        }
        match self.memo.insert(index, value) {
            None => Ok(()),
            Some(_) => fault(
                format!("memo entry {index} written twice"),
                "each once, as torch.save does",
            ),
        }
    }

    fn recall(&mut self, index: u32) -> Outcome<()> {
        match self.memo.get(&index) {
            Some(value) => {
                self.stack.push(*value);
                Ok(())
            }
            None => fault(
                format!("memo entry {index}, which was never written"),
                "an entry that was",
            ),
        }
    }

    /// The name of a function or class: one of those that a state dict is made of.
    fn global(&mut self, start: usize) -> Outcome<()> {
        let module = self.line()?;
        let class = self.line()?;
        let global = match (module, class) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", class) if class.ends_with("Storage") => match Element::of_storage(class) {
                Some(element) => Global::Storage(element),
                None => {
                    return fault(
                        format!("torch.{class} at byte {start}"),
                        "storages of F16, BF16, F32, F64, integers up to 64 bits or truth values",
                    );
                }
            },
            _ => {
                let advice = if self.makes_an_object() {
                    "; this is an object of that class, perhaps a whole model: save model.state_dict() instead"
                } else {
                    ""
                };
                return fault(
                    format!("{module}.{class} at byte {start}{advice}"),
                    ALLOWED_GLOBALS,
                );
            }
        };
        self.stack.push(Value::Global(GlobalIndex(global)));
        Ok(())
    }

    /// Whether what follows is what Python writes to make an object of a class: an optional memo entry,
    /// EMPTY_TUPLE, NEWOBJ.
    fn makes_an_object(&self) -> bool {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let rest = match rest {
            [b'q', _, rest @ ..] | [b'r', _, _, _, _, rest @ ..] => rest,
            rest => rest,
        };
        matches!(rest, [b')', 0x81, ..])
    }

    /// A persistent id: in torch, (`"storage"`, class, key, device, length).
    fn storage(&mut self, start: usize) -> Outcome<()> {
        let id = self.pop()?;
        let items = match id {
            Value::Tuple(index) => self.pickle.sequence(index),
            _ => &[],
        };
        if let [
            Value::Text(kind),
            Value::Global(GlobalIndex(Global::Storage(element))),
            Value::Text(key),
            Value::Text(_device),
            Value::Integer(length),
        ] = *items
            && self.pickle.text(kind) == "storage"
        {
            let key = self.pickle.text(key).to_owned();
            // The key becomes a part of an entry's name: digits can lead nowhere else.
            if key.is_empty() || key.len() > 20 || !key.bytes().all(|byte| byte.is_ascii_digit()) {
                return fault(
                    format!("the storage {:?} at byte {start}", shortened(&key)),
                    "a storage named by a number",
                );
            }
            let Ok(length) = u64::try_from(length) else {
                return fault(
                    format!("a storage of {length} numbers at byte {start}"),
                    "no negative length",
                );
            };
            let storage = Storage {
                element,
                key,
                length,
            };
            let index = self.pickle.push(Object::Storage(storage), 0)?;
            self.stack.push(Value::Storage(index));
            return Ok(());
        }
        fault(
            format!("a persistent id at byte {start} that is no storage of torch's"),
            "(\"storage\", class, key, device, length)",
        )
    }

    /// The three calls that a state dict needs.
    fn reduce(&mut self, start: usize) -> Outcome<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let (Value::Global(GlobalIndex(global)), Value::Tuple(arguments)) = (callable, arguments)
        else {
            return fault(
                format!(
                    "a call at byte {start} of {} with {}",
                    self.pickle.describe(callable),
                    self.pickle.describe(arguments)
                ),
                ALLOWED_GLOBALS,
            );
        };
        let arguments = self.pickle.sequence(arguments);
        let value = match (global, arguments) {
            (Global::OrderedDict, []) => self.new_dict(true)?,
            (Global::RebuildTensor, [storage, offset, sizes, strides, _gradient, _hooks, ..])
                if arguments.len() <= 7 =>
            {
                let view = self.view([*storage, *offset, *sizes, *strides], start)?;
                Value::Tensor(self.pickle.push(Object::Tensor(view), 0)?)
            }
            (Global::RebuildParameter, [data @ Value::Tensor(_), _gradient, _hooks]) => *data,
            _ => {
                return fault(
                    format!(
                        "a call of {} with {} arguments at byte {start}",
                        match global {
                            Global::OrderedDict => "OrderedDict",
                            Global::RebuildTensor => "_rebuild_tensor_v2",
                            Global::RebuildParameter => "_rebuild_parameter",
                            Global::Storage(_) => "a storage's class",
                        },
                        arguments.len()
                    ),
                    "the calls that torch.save writes for a state dict",
                );
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// The view that `_rebuild_tensor_v2(storage, offset, sizes, strides, ...)` makes.
    fn view(&self, [storage, offset, sizes, strides]: [Value; 4], start: usize) -> Outcome<View> {
        let wrong = |what: &str, value: Value, allowed: &str| Fault {
            found: format!(
                "a tensor at byte {start} whose {what} is {}",
                self.pickle.describe(value)
            ),
            allowed: allowed.into(),
        };
        let object = match storage {
            Value::Storage(index) => self.pickle.objects.get(index),
            _ => None,
        };
        let Some(Object::Storage(found)) = object else {
            return Err(wrong("storage", storage, "a storage"));
        };
        let natural = |what: &str, value: Value| match value {
            Value::Integer(x) if x >= 0 => Ok(x.unsigned_abs()),
            _ => Err(wrong(what, value, "an integer that is not negative")),
        };
        let list = |what: &str, value: Value| {
            let Value::Tuple(index) = value else {
                return Err(wrong(what, value, "a tuple of integers"));
            };
            let items = self.pickle.sequence(index);
            if items.len() > MAX_AXES {
                return fault(
                    format!("a tensor at byte {start} with {} axes", items.len()),
                    format!("at most {MAX_AXES}"),
                );
            }
            items
                .iter()
                .map(|item| natural(what, *item))
                .collect::<Outcome<Vec<u64>>>()
        };
        let offset = natural("offset", offset)?;
        let (sizes, strides) = (list("size", sizes)?, list("stride", strides)?);
        if sizes.len() != strides.len() {
            return fault(
                format!(
                    "a tensor at byte {start} with {} sizes and {} strides",
                    sizes.len(),
                    strides.len()
                ),
                "a stride for each size",
            );
        }
        Ok(View {
            storage: found.clone(),
            offset,
            sizes,
            strides,
        })
    }

    /// The attributes of an object. A state dict has some of its own (`_metadata`, versions of modules), which
    /// say nothing about numbers and are dropped; nothing else may have any.
    fn build(&mut self, start: usize) -> Outcome<()> {
        let state = self.pop()?;
        let target = self.top(start)?;
        let is_ordered = match target {
            Value::Dict(index) => matches!(
                self.pickle.objects.get(index),
                Some(Object::Dict { ordered: true, .. })
            ),
            _ => false,
        };
        match state {
            Value::Dict(_) if is_ordered => Ok(()),
            _ => fault(
                format!(
                    "attributes at byte {start}, {}, for {}",
                    self.pickle.describe(state),
                    self.pickle.describe(target)
                ),
                "attributes of a collections.OrderedDict, in a dict",
            ),
        }
    }
}

/// An integer of any length, in two's complement and little-endian order.
fn long(digits: &[u8]) -> Value {
    let sign = if digits.last().is_some_and(|byte| byte & 0x80 != 0) {
        0xff
    } else {
        0
    };
    let mut word = [sign; 8];
    match word.get_mut(..digits.len()) {
        Some(low) => {
            low.copy_from_slice(digits);
            Value::Integer(i64::from_le_bytes(word))
        }
        None => Value::Large,
    }
}

/// An instruction by the name that Python's `pickletools` gives it, where it is one that a reader of errors
/// may want to look up.
fn name(opcode: u8) -> String {
    let known = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x93 => "STACK_GLOBAL",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'd' => "DICT",
        b'l' => "LIST",
        b'p' => "PUT",
        b'g' => "GET",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' | b'T' | b'U' => "STRING",
        b'V' => "UNICODE",
        b'B' | b'C' | 0x8e => "BYTES",
        0x8b => "LONG4",
        0x8c => "SHORT_BINUNICODE",
        0x8d => "BINUNICODE8",
        0x8f => "EMPTY_SET",
        0x94 => "MEMOIZE",
        0x95 => "FRAME",
        _ => return format!("0x{opcode:02x}"),
    };
    format!("{known} (0x{opcode:02x})")
}
