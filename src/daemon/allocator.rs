//! Memory given back: the C library's allocator, told once not to keep what large buffers leave.
//!
//! glibc serves large requests from maps of their own, but raises the size from which it does so
//! whenever such a map is given back, up to 32 MiB; from then on shards live in its arenas, which
//! hardly ever shrink. A daemon that once sent a film would keep that memory for months (87 MB at
//! the peak of sending 250 photos; 38 MB with the size fixed).
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

/// Requests from this size on get a map of their own, in bytes: the C library's own starting value.
const MAP_FROM_BYTES: libc::c_int = 128 << 10;

/// Fixes the size from which memory is given back at once. A C library that does not take the hint
/// is left as it is.
pub(super) fn return_large_buffers() {
    // SAFETY: mallopt(3) only sets a parameter of the allocator, and may be called at any time.
    let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_FROM_BYTES) };
    if taken == 0 {
        tracing::debug!("the allocator does not take a fixed size for maps");
    }
}
