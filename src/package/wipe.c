/* In a file of its own, so that it is not inlined: the array must lie below the caller's frame,
 * where the frames of the functions that it called have been. */
#include <openssl/crypto.h>

#include "package/package_priv.h"

#define STACK_BYTES 16384 /* more than libcrypto uses for a signature */

void sign_wipe_stack(void)
{
    uint8_t below[STACK_BYTES];
    OPENSSL_cleanse(below, sizeof below);
}
