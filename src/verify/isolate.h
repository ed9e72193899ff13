/* Runs code that may crash, hang or end the process, in a child process.
 *
 * The child has a copy of the caller's memory; its answer comes back as one block of bytes. It is
 * made by fork: if other threads run, the body must not need locks that they may hold. */
#ifndef URZA_VERIFY_ISOLATE_H
#define URZA_VERIFY_ISOLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Calls body(argument, out) in a child, where out is zeroed, and copies what it wrote to the
 * caller's out (out_bytes ≤ 64 KiB, no pointers). False, with out unchanged, when the child dies
 * first: ERR_VERIFY names the signal ("SIGSEGV") or the exit status; ERR_NOMEM or ERR_IO when it
 * cannot be started. timeout_s > 0. */
bool isolate(void (*body)(const void *argument, void *out), const void *argument, void *out,
             size_t out_bytes, uint32_t timeout_s, struct error *err);

#endif
