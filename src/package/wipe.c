/* A file of its own, so that the array is no part of the caller's frame: it must lie below, where
 * the frames of the caller's calls were. */
#include <openssl/crypto.h>

#include "package/package_priv.h"

#define STACK_BYTES 16384 /* more than libcrypto uses for a signature */

void sign_wipe_stack(void)
{
    uint8_t below[STACK_BYTES];
    OPENSSL_cleanse(below, sizeof below);
}
