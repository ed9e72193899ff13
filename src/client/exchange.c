/* A request and its answer, with retries.
 *
 *   answer of 503, 429           retry after the time the service gives, or else a doubling time
 *   no connection                retry after a doubling time
 *   broken in an exchange        the same, if the request is repeatable
 *   everything else              returned to the caller at once
 *
 * Each pause is random between half and all of its time, so that clients that failed together do
 * not retry together. */
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "client/client_priv.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 5000

uint64_t deadline_after(uint64_t ms)
{
    return clock_ns() + ms * 1000000;
}

static void sleep_until(uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        ;
}

bool pause_before_next(struct urza_client *client, uint32_t attempt, long asked_s,
                       uint64_t deadline_ns)
{
    uint64_t ms = FIRST_PAUSE_MS << (attempt < 10 ? attempt - 1 : 9);
    ms = ms > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : ms;
    double part = rng_uniform(client->random, atomic_fetch_add(&client->draw, 1));
    uint64_t ns = (uint64_t)((0.5 + 0.5 * part) * (double)ms * 1e6);
    if (asked_s >= 0)
        ns = (uint64_t)asked_s * 1000000000 + (uint64_t)(part * 1e8);
    uint64_t until = clock_ns() + ns;
    if (until > deadline_ns)
        return false;
    sleep_until(until);
    return true;
}

/* Whether the answer is a success. */
static bool judge(const struct exchange *exchange, struct error *err)
{
    long status = exchange->status;
    if (status == 304 && exchange->etag)
        return true;
    if (status >= 400)
        return answer_error(exchange, err);
    if (status >= 300)
        return fail(err, ERR_PROTOCOL, "the service wants to send us elsewhere (%ld)", status);
    if (status < 200 || status == 206)
        return fail(err, ERR_PROTOCOL, "an answer of status %ld", status);
    return true;
}

bool exchange_run(struct urza_client *client, struct exchange *exchange, struct error *err)
{
    for (uint32_t attempt = 1;; attempt++) {
        bool unsent, answered = http_try(client, exchange, &unsent, err);
        if (answered && judge(exchange, err))
            return true;
        bool again = answered ? exchange->status == 503 || exchange->status == 429
                              : err->code == ERR_CONNECTION && (unsent || exchange->repeatable);
        if (!again || attempt >= client->tries ||
            !pause_before_next(client, attempt, answered ? exchange->retry_after_s : -1,
                               exchange->deadline_ns))
            return false;
    }
}

void exchange_release(struct exchange *exchange)
{
    bytes_release(&exchange->answer);
}
