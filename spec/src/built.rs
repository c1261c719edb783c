//! What this version accepts in function.yaml and does not act on yet; each use is a warning.

/// Right in function.yaml, and not heeded by this version.
pub const WITHOUT_EFFECT: [&str; 11] = [
    "spec.limits.memory",
    "spec.limits.pending",
    "spec.limits.replyBufferMax",
    "spec.triggers.*.retry",
    "spec.triggers.*.deadLetter",
    "spec.triggers.*.onExhausted",
    "spec.triggers.*.ordering",
    "spec.triggers.*.maxAttempts",
    "spec.triggers.*.explicitAckMode",
    "spec.triggers.*.mode",
    "spec.triggers.*.attributes.readBufferSize",
];
