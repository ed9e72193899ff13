/* The ring of a slot's events. Calls add to it from many threads, and must never wait: who finds it
 * busy for longer than a copy takes, as the child of a fork might for ever, counts the event as
 * lost. */
#include <stdlib.h>

#include "base/compiler.h"
#include "layer/slot_priv.h"

#define TRIES 10000

static bool enter(struct event_ring *ring)
{
    for (int i = 0; i < TRIES; i++) {
        if (!atomic_flag_test_and_set_explicit(&ring->busy, memory_order_acquire))
            return true;
        URZA_CPU_RELAX();
    }
    return false;
}

static void leave(struct event_ring *ring)
{
    atomic_flag_clear_explicit(&ring->busy, memory_order_release);
}

void event_add(struct event_ring *ring, const urza_slot_event *event)
{
    if (!enter(ring)) {
        atomic_fetch_add(&ring->lost, 1);
        return;
    }
    if (!ring->events)
        ring->events = calloc(EVENTS_MOST, sizeof *ring->events);
    if (!ring->events) {
        atomic_fetch_add(&ring->lost, 1);
        leave(ring);
        return;
    }
    if (ring->count == EVENTS_MOST) {
        ring->first = (ring->first + 1) % EVENTS_MOST;
        ring->count--;
        atomic_fetch_add(&ring->lost, 1);
    }
    ring->events[(ring->first + ring->count++) % EVENTS_MOST] = *event;
    leave(ring);
}

URZA_EXPORT void urza_slot_events(urza_slot *slot, urza_slot_event *events, uint32_t *count)
{
    uint32_t room = slot && count && events ? *count : 0, taken = 0;
    struct event_ring *ring = room > 0 ? &slot->ring : NULL;
    uint64_t lost = ring ? atomic_exchange(&ring->lost, 0) : 0;
    if (lost > 0)
        events[taken++] = (urza_slot_event){.kind = URZA_EVENT_LOST,
                                            .from = (urza_slot_state)slot->machine.state,
                                            .to = (urza_slot_state)slot->machine.state,
                                            .seed = slot->machine.seed,
                                            .tick = slot->machine.tick,
                                            .count = lost,
                                            .reason = "more events than were asked for in time"};
    if (ring && enter(ring)) {
        for (; taken < room && ring->count > 0; ring->count--) {
            events[taken++] = ring->events[ring->first];
            ring->first = (ring->first + 1) % EVENTS_MOST;
        }
        leave(ring);
    }
    if (count)
        *count = taken;
}

URZA_EXPORT const char *urza_slot_event_name(urza_slot_event_kind kind)
{
    static const char *const names[] = {"state", "fault", "host", "command", "restored", "lost"};
    return (uint32_t)kind < sizeof names / sizeof *names ? names[kind] : "?";
}
