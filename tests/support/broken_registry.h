/* A registry that fails in every way that it is told to: for tests of what a host makes of it. It
 * is a process of its own, so that failing allocations and exhausted descriptors of the test are
 * not its own. Helpers end the test where what they do must work. */
#ifndef URZA_TESTS_SUPPORT_BROKEN_REGISTRY_H
#define URZA_TESTS_SUPPORT_BROKEN_REGISTRY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What comes of a request. The first is as it should be; some are right, too, and late or old. */
enum registry_way {
    WAY_HONEST,
    WAY_CLOSE,     /* the connection ends without an answer */
    WAY_RESET,     /* it is reset in the middle of the body */
    WAY_CUT,       /* it ends in the middle of the body */
    WAY_CUT_HEAD,  /* or of the headers */
    WAY_FLIP,      /* one bit of the package is another */
    WAY_OTHER,     /* a package of another name */
    WAY_EMPTY,     /* of no bytes */
    WAY_ZEROS,     /* of zeros */
    WAY_SHORT,     /* Content-Length says less than is sent, and the connection stays open */
    WAY_HUGE,      /* it says an exabyte */
    WAY_LENGTHS,   /* there are two of them */
    WAY_UNBOUNDED, /* there is none, and the body is cut */
    WAY_CHUNKS,    /* sizes of chunks that are none */
    WAY_CODING,    /* says that it is compressed, and is not */
    WAY_STATUS,    /* a status of many, with JSON that fits or not */
    WAY_BUSY,      /* 503 or 429, and when to come again: now, later, never, nonsense */
    WAY_TYPE,      /* a page of HTML */
    WAY_HEADERS,   /* more headers than anybody reads */
    WAY_ETAG,      /* an etag that is too long, and an id that is none */
    WAY_NOISE,     /* drawn bytes */
    WAY_SLOW,      /* the body comes later than anybody waits */
    WAY_COUNT,
};

struct registry_package {
    const void *bytes;
    size_t size;
    const char *id;
};
#define REGISTRY_PACKAGES 2

struct registry_shared;
struct registry {
    pid_t pid;
    struct registry_shared *shared;
    /* Of the service; of one that speaks no TLS though it is asked to; of nobody. */
    char url[64], garbled_url[64], closed_url[64];
};

/* No other thread may run. Aliases ("a0", any name that is no id) are of the package that was said
 * last. */
void registry_start(struct registry *registry, const struct registry_package *packages);
void registry_say(struct registry *registry, enum registry_way way, uint32_t alias);
/* How many requests were answered in ways that are faults, and connections that were garbled. */
uint64_t registry_faults(const struct registry *registry);
uint64_t registry_answers(const struct registry *registry, enum registry_way way);
const char *registry_way_name(enum registry_way way);
void registry_stop(struct registry *registry); /* and that it did not end by itself */

#endif
