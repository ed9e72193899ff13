/* Keeps packages loaded, by kernel id or alias. A loader has threads of its own, on which a package
 * is fetched from the registry, verified, loaded, and called once on drawn inputs, so that a host's
 * own thread finds everything ready. C and C++; part of urza_client.
 *
 *     urza_loader_want(loader, kernel, &err);          early; returns at once
 *     …
 *     urza_loader_get(loader, kernel, 0, &module, &err);  a module, or the reason why there is none
 *
 * A package that failed is not tried again for a while; until then urza_loader_get gives the
 * reason. When the registry cannot be reached several times in a row, it is left alone, for a time
 * that doubles with each further failure; packages that are in the client's folder are loaded
 * meanwhile.
 *
 * Functions may be called from any thread, on_ready included, but not in the child of a fork. */
#ifndef URZA_LOADER_H
#define URZA_LOADER_H

#include "urza/client.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_loader urza_loader;

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_loader_options {
    urza_client *client; /* required; must stay open until the loader is closed */
    /* Of all modules; keys that are trusted are the client's. Its runtime and target are kept. */
    urza_load_options load;
    uint32_t threads; /* as many packages are loaded at one time; 0: 1 */
    uint32_t keep; /* modules that are kept, the most recently asked for; 0: 64. Others live on with
                      the references that hosts have */
    uint32_t deadline_ms; /* for fetching one package, all tries included; 0: 30,000 */
    uint32_t failures;    /* so many in a row, and the registry is left alone; 0: 3 */
    uint32_t pause_ms;    /* for so long at first, at most 64 times as long; and so long until a
                             package that failed is tried again; 0: 1,000 */
    /* Called on a thread of the loader when a package is ready, or failed (module NULL; why);
     * borrowed for the call, in which no function of the loader may be called but urza_loader_want.
     * For one name calls come one after the other, in the order of its packages; for different ones
     * at the same time, if there are several threads. May be NULL. */
    void (*on_ready)(void *user, const char *kernel, urza_module *module, const urza_error *why);
    void *user;
} urza_loader_options;

int urza_loader_open(const urza_loader_options *options, urza_loader **out, urza_error *err);
/* Ends calls of urza_loader_get that wait (CancelledError), waits for what is being loaded, and
 * forgets the rest; no other call may begin. Modules of which hosts have references live on.
 * Accepts NULL. */
void urza_loader_close(urza_loader *loader);

/* Says that a kernel will be needed. Of an alias that was loaded before, asks the registry again
 * which kernel it names, and loads that if it is another one; the one before stays until then.
 * UsageError: not the name of a kernel; OverloadedError: 1,024 are waited for. */
int urza_loader_want(urza_loader *loader, const char *kernel, urza_error *err);
/* The module, with a reference for urza_unload. Wants the kernel if it is not there, and waits at
 * most wait_ms for it; OverloadedError if it is not ready by then; else why it failed. */
int urza_loader_get(urza_loader *loader, const char *kernel, uint32_t wait_ms, urza_module **out,
                    urza_error *err);

typedef struct urza_loader_stats {
    uint64_t fetched, loaded, failed; /* packages, since it was opened */
    uint64_t evicted;
    uint32_t kept, waiting; /* now */
    uint32_t resting;       /* 1: the registry is left alone at the moment */
} urza_loader_stats;
void urza_loader_stats_get(urza_loader *loader, urza_loader_stats *out);

#ifdef __cplusplus
}
#endif
#endif
