#include "base/entropy.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

bool entropy_fill(void *out, size_t size, struct error *err)
{
    uint8_t *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(err, ERR_IO, "the system gives no random bytes: %s", strerror(errno));
        at += got;
        size -= (size_t)got;
    }
    return true;
}
