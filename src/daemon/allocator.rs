//! Makes the C library's allocator return large buffers to the system.
//!
//! glibc serves large requests with mmap(2), but raises the size from which it does so, up to
//! 32 MiB, whenever such a buffer is freed; from then on shards live in its arenas, which hardly
//! ever shrink. A daemon that once uploaded a large file would keep that memory for months (87 MB
//! at the peak of sending 250 photos; 38 MB with the threshold fixed).
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

/// Requests of this size and above are served with mmap, in bytes: the C library's initial value.
const MMAP_THRESHOLD_BYTES: libc::c_int = 128 << 10;

/// Fixes the mmap threshold, so that freed buffers above it go back to the system at once. A C
/// library that does not support this is left as it is.
pub(super) fn fix_mmap_threshold() {
    // SAFETY: mallopt(3) only sets a parameter of the allocator, and may be called at any time.
    let accepted = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) };
    if accepted == 0 {
        tracing::debug!("the allocator does not support a fixed mmap threshold");
    }
}
