//! The second half of `cargo xtask gen`: the field table of the CRI messages for the client's JSON
//! (`crates/ctl/src/schema/table.rs`). prost keeps no descriptors at run time; this table is what is needed of them.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

/// Fields that CRI got after v1.36: shown only when set, so that answers without them look as they always did.
const LATER: &[&str] = &["Mount.mount_options", "RuntimeHandlerFeatures.mount_options"];

/// The table's source text, laid out so that rustfmt leaves it alone (`rustfmt::skip` where it is included).
pub(crate) fn table(descriptors: &FileDescriptorSet) -> anyhow::Result<String> {
    let file = descriptors.file.last().context("no file in the descriptor set")?;
    let mut out = String::from(
        "//! The messages and enums of CRI v1; written by `cargo xtask gen`, do not edit.\n\n\
         use super::{Enumeration, Field, Kind, Message};\n\npub(super) static MESSAGES: &[Message] = &[\n",
    );
    for message in &file.message_type {
        writeln!(out, "    Message {{ name: {:?}, fields: &[", message.name())?;
        for field in &message.field {
            writeln!(
                out,
                "        Field {{ name: {:?}, json: {:?}, number: {}, kind: {}, repeated: {}, later: {} }},",
                field.name(),
                field.json_name(),
                field.number(),
                kind(file, message, field)?,
                field.label() == Label::Repeated && !is_map(message, field),
                LATER.contains(&format!("{}.{}", message.name(), field.name()).as_str()),
            )?;
        }
        out.push_str("    ] },\n");
    }
    out.push_str("];\n\npub(super) static ENUMS: &[Enumeration] = &[\n");
    for one in enums(file) {
        writeln!(out, "    Enumeration {{ values: &[")?;
        for value in &one.value {
            // The signals got a prefix after v1.36; on the wire they are numbers, scripts know the short names.
            let name = if one.name() == "Signal" {
                value.name().trim_start_matches("SIGNAL_")
            } else {
                value.name()
            };
            writeln!(out, "        ({}, {name:?}),", value.number())?;
        }
        out.push_str("    ] },\n");
    }
    out.push_str("];\n");
    Ok(out)
}

/// The enums, those inside messages last.
fn enums(file: &FileDescriptorProto) -> impl Iterator<Item = &EnumDescriptorProto> {
    file.enum_type.iter().chain(file.message_type.iter().flat_map(|message| &message.enum_type))
}

/// Protobuf's maps are repeated messages of a nested type.
fn is_map(message: &DescriptorProto, field: &FieldDescriptorProto) -> bool {
    field.r#type() == Type::Message
        && message.nested_type.iter().any(|nested| {
            nested.options.as_ref().is_some_and(|options| options.map_entry())
                && field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name()))
        })
}

fn kind(
    file: &FileDescriptorProto,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> anyhow::Result<String> {
    let last = field.type_name().rsplit('.').next().unwrap_or_default();
    Ok(match field.r#type() {
        Type::Message if is_map(message, field) => "Kind::Map".to_owned(),
        Type::Message => {
            let index = file.message_type.iter().position(|one| one.name() == last);
            format!("Kind::Message({})", index.context("a message that is not in the file")?)
        }
        Type::Enum => {
            let index = enums(file).position(|one| one.name() == last);
            format!("Kind::Enum({})", index.context("an enum that is not in the file")?)
        }
        plain @ (Type::String
        | Type::Bytes
        | Type::Bool
        | Type::Int32
        | Type::Int64
        | Type::Uint32
        | Type::Uint64
        | Type::Double) => format!("Kind::{plain:?}"),
        other => bail!("{}.{}: a field of type {other:?} is new", message.name(), field.name()),
    })
}
