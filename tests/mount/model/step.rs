//! A step: one operation, on few enough paths that operations often conflict.

use std::io;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::content_op::ContentOp;
use super::descriptor_op::{DescriptorOp, OpenFiles};
use super::metadata_op::MetadataOp;
use super::name_op::NameOp;

/// The longest list of steps.
const STEPS_MAX: usize = 40;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Content(ContentOp),
    Name(NameOp),
    Metadata(MetadataOp),
    Descriptor(DescriptorOp),
}

impl Step {
    /// Applies the step below `root`; returns what it read.
    pub(crate) fn apply(&self, root: &Path, slots: &mut OpenFiles) -> io::Result<Vec<u8>> {
        match self {
            Self::Content(step) => step.apply(root),
            Self::Name(step) => step.apply(root).map(|()| Vec::new()),
            Self::Metadata(step) => step.apply(root).map(|()| Vec::new()),
            Self::Descriptor(step) => step.apply(root, slots),
        }
    }
}

pub(crate) fn list() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => ContentOp::any().prop_map(Step::Content),
        5 => NameOp::any().prop_map(Step::Name),
        2 => MetadataOp::any().prop_map(Step::Metadata),
        3 => DescriptorOp::any().prop_map(Step::Descriptor),
    ];
    vec(step, 1..=STEPS_MAX)
}

/// A path of one to three names.
pub(crate) fn path() -> impl Strategy<Value = String> {
    let name = || select(vec!["a", "b", "c"]);
    prop_oneof![
        5 => name().prop_map(str::to_owned),
        4 => (name(), name()).prop_map(|(one, two)| format!("{one}/{two}")),
        1 => (name(), name(), name()).prop_map(|(one, two, three)| format!("{one}/{two}/{three}")),
    ]
}

/// A mode. The owner can always read and write, or an unprivileged user's tree could not be
/// compared.
pub(crate) fn mode() -> impl Strategy<Value = u32> {
    (0..0o10000_u32).prop_map(|mode| mode | 0o700)
}

/// An offset in a file, or a size.
pub(crate) fn position() -> impl Strategy<Value = u64> {
    prop_oneof![0..40_u64, 0..20_000_u64]
}

/// A few bytes, or some pages of one byte.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..30),
        1 => (any::<u8>(), 1..9_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}
