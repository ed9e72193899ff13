/* A training loop with a slot whose seeds come from a registry, by a loader and its folder, while
 * the registry answers in every wrong way, connections are refused and garbled, the folder is
 * damaged, full and gone, and descriptors and memory fail, in this process's libraries as well:
 * every step ends, with h or the right blend, dy or the right gradient; what the loader gives is
 * what was asked for; the counts are right; and nothing leaks.
 *
 * Usage: client_faults_test [--exhaustive] [--faults N] [--seed N]
 *
 * A small share of faults, unless it is told how many: exhaustive is a million.
 *
 * Allocations fail anywhere in the process but in jansson (faults_test_util.h). */
#include "base/faults_test_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/error.h"
#include "compiler/compile.h"
#include "package/package.h"
#include "support/broken_registry.h"
#include "support/training_loop.h"
#include "urza/loader.h"

#define ALIASES 8
#define LONG_MS 20000
#define HOST_STEPS 64   /* with one client and one loader */
#define GARBLED_STEPS 4 /* where each begins by reading all of a system\'s authorities */
/* Bytes more behind the second half of the faults: what libraries keep once. Leaks grow with the
 * faults, and show in an exhaustive run. */
#define LEAKED_MOST (4 << 20)

static uint64_t faults_wanted = 3000, drawn_from = 78;

enum client_fault {
    CLIENT_GOOD,
    CLIENT_MEMORY, /* the n-th allocation of the process fails */
    CLIENT_SPACE,  /* files cannot be written beyond a size, as on a full disk */
    CLIENT_FILES,  /* no descriptor is left */
    CLIENT_FOLDER, /* the folder of packages is gone, or is a file */
    CLIENT_DAMAGE, /* packages in the folder are damaged */
    CLIENT_FAULTS
};

struct test {
    struct registry registry;
    struct registry_package packages[REGISTRY_PACKAGES];
    char folder[64], cache[96];
    struct signing_key key;
    urza_runtime *runtime;
    urza_client *client;
    urza_loader *loader;
    urza_slot *slot;
    bool garbled, closed;  /* whom the client asks */
    urza_slot_state state; /* as events say */
    struct loop loop;
    urza_loader_stats stats; /* of loaders that were closed */
    uint64_t injected[CLIENT_FAULTS], steps_wrong, refused, given, not_given, planted, seeds, told;
    _Atomic uint64_t ready, failed;
};

static uint32_t draw(struct test *t, uint32_t below)
{
    return loop_draw(&t->loop, below);
}

static uint64_t faults_so_far(const struct test *t)
{
    uint64_t sum = t->steps_wrong + t->refused + registry_faults(&t->registry);
    for (int i = 0; i < CLIENT_FAULTS; i++)
        sum += t->injected[i];
    return sum;
}

/* Files. */

/* Calls a function for each file of the folder of packages; how many there were. */
static uint32_t each_file(const struct test *t, void (*what)(const char *path, uint32_t drawn),
                          uint32_t drawn)
{
    char folder[128], path[512];
    uint32_t count = 0;
    snprintf(folder, sizeof folder, "%s/packages", t->cache);
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        what(path, drawn);
        count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static void remove_file(const char *path, uint32_t drawn)
{
    (void)drawn;
    unlink(path);
}

/* Cut off, or a byte is another. */
static void damage_file(const char *path, uint32_t drawn)
{
    struct stat info;
    char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return; /* a thread of the loader has renamed it meanwhile */
    if (fd < 0 || fstat(fd, &info) != 0)
        TEST_FAILED("%s cannot be damaged", path);
    off_t at = info.st_size > 0 ? (off_t)drawn % info.st_size : 0;
    if (drawn % 3 == 0 || info.st_size == 0) {
        assert_int_equal(ftruncate(fd, at), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte = (char)~byte;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* The folder of packages is gone, or a file is in its place; back: it is there again. */
static void take_folder(const struct test *t, bool gone, uint32_t drawn)
{
    char path[128];
    snprintf(path, sizeof path, "%s/packages", t->cache);
    if (!gone) {
        unlink(path);
        mkdir(path, 0700);
        return;
    }
    each_file(t, remove_file, 0);
    rmdir(path);
    if (drawn % 2)
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static uint32_t open_files(void)
{
    uint32_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void set_limit(int which, rlim_t soft)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(which, &limit), 0);
    limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
    assert_int_equal(setrlimit(which, &limit), 0);
}

/* Clients. */

static void count(void *user, const char *kernel, urza_module *module, const urza_error *why)
{
    struct test *t = user;
    if (!kernel[0] || (module != NULL) == (why != NULL))
        abort();
    atomic_fetch_add(module ? &t->ready : &t->failed, 1);
}

static bool try_host(struct test *t)
{
    const char *url = t->registry.url;
    urza_error err;
    uint32_t drawn = draw(t, 16);
    t->garbled = drawn == 0;
    t->closed = drawn == 1;
    if (t->garbled || t->closed)
        url = t->garbled ? t->registry.garbled_url : t->registry.closed_url;
    const urza_client_options options = {.cache_dir = draw(t, 8) ? t->cache : NULL,
                                         .cache_bytes = draw(t, 2) ? 1 : 0,
                                         .trusted_keys = (const uint8_t(*)[32])t->key.public_key,
                                         .trusted_key_count = 1,
                                         .timeout_ms = 500,
                                         .tries = 1 + (draw(t, 16) == 0)};
    if (urza_client_open(url, &options, &t->client, &err) != 0)
        return false;
    const urza_loader_options loader = {.client = t->client,
                                        .load = {.runtime = t->runtime},
                                        .threads = 1 + draw(t, 3),
                                        .keep = 1 + draw(t, 3),
                                        .deadline_ms = 40,
                                        .failures = draw(t, 4) ? 1 << 30 : 3,
                                        .pause_ms = 1,
                                        .on_ready = count,
                                        .user = t};
    if (urza_loader_open(&loader, &t->loader, &err) == 0)
        return true;
    urza_client_close(t->client);
    t->client = NULL;
    return false;
}

/* Sometimes without memory, which must be an error and no more. */
static void open_host(struct test *t)
{
    bool fails = draw(t, 2);
    if (fails)
        faults_begin(FAULTS_OURS, 1 + draw(t, 400), 0);
    bool ok = try_host(t);
    faults_end();
    t->injected[CLIENT_MEMORY] += fails && faults.count >= faults.fail_at;
    if (!ok && !fails)
        TEST_FAILED("a client or its loader cannot be opened");
    if (!ok && !try_host(t))
        TEST_FAILED("a client or its loader cannot be opened");
}

static void close_host(struct test *t)
{
    urza_loader_stats stats;
    urza_loader_stats_get(t->loader, &stats);
    while (stats.waiting > 0) {
        usleep(200);
        urza_loader_stats_get(t->loader, &stats);
    }
    urza_loader_close(t->loader);
    urza_client_close(t->client);
    t->client = NULL;
    t->stats.loaded += stats.loaded;
    t->stats.failed += stats.failed;
    t->stats.fetched += stats.fetched;
}

/* A step. */

static enum registry_way draw_way(struct test *t)
{
    enum registry_way way = draw(t, WAY_COUNT);
    if (draw(t, 4) == 0 || (way == WAY_SLOW && draw(t, 16) > 0))
        way = WAY_HONEST;
    return way;
}

/* Before a fetch; true: something is wrong, which is to be counted. */
static bool begin_fault(struct test *t, enum client_fault fault)
{
    if (fault == CLIENT_MEMORY)
        faults_begin(FAULTS_OURS, 1 + draw(t, draw(t, 2) ? 40 : 600), 0);
    if (fault == CLIENT_SPACE)
        set_limit(RLIMIT_FSIZE, draw(t, 4) ? draw(t, 60000) : 0);
    if (fault == CLIENT_FILES)
        set_limit(RLIMIT_NOFILE, 3 + draw(t, 12));
    if (fault == CLIENT_FOLDER)
        take_folder(t, true, draw(t, 2));
    return fault != CLIENT_DAMAGE || each_file(t, damage_file, draw(t, UINT32_MAX)) > 0;
}

static bool end_fault(struct test *t, enum client_fault fault)
{
    set_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    set_limit(RLIMIT_NOFILE, 512);
    faults_end();
    if (fault == CLIENT_FOLDER)
        take_folder(t, false, 0);
    return fault != CLIENT_MEMORY || faults.count >= faults.fail_at;
}

/* Asks for a kernel while something is wrong; NULL: it is not given. */
static urza_module *ask(struct test *t)
{
    char alias[16];
    urza_module *module = NULL;
    urza_error err = {0};
    uint32_t which = draw(t, REGISTRY_PACKAGES), wait_ms = draw(t, 8) ? LONG_MS : draw(t, 3);
    const char *name = draw(t, 4) ? alias : t->packages[which].id;
    static const enum client_fault more[] = {CLIENT_GOOD, CLIENT_GOOD, CLIENT_MEMORY,
                                             CLIENT_MEMORY};
    enum client_fault fault = draw(t, 2) ? more[draw(t, 4)] : draw(t, CLIENT_FAULTS);
    snprintf(alias, sizeof alias, "a%u", draw(t, ALIASES));
    registry_say(&t->registry, draw_way(t), which);
    bool wrong = begin_fault(t, fault);
    int code = urza_loader_want(t->loader, name, &err);
    if (code == 0)
        code = urza_loader_get(t->loader, name, wait_ms, &module, &err);
    wrong = end_fault(t, fault) && wrong;
    t->injected[fault] += fault != CLIENT_GOOD && wrong;
    if ((code == 0) != (module != NULL) || (code != 0 && (code != err.code || !err.message[0])))
        TEST_FAILED("code %d, %s: %s", code, err.place, err.message);
    t->refused += t->closed && code == ERR_CONNECTION;
    t->given += module != NULL;
    t->not_given += !module;
    if (module && strcmp(urza_kernel_id(module), t->packages[0].id) != 0 &&
        strcmp(urza_kernel_id(module), t->packages[1].id) != 0)
        TEST_FAILED("nobody asked for %s", urza_kernel_id(module));
    if (module && name != alias && strcmp(urza_kernel_id(module), name) != 0)
        TEST_FAILED("asked for %s, got %s", name, urza_kernel_id(module));
    return module;
}

/* An answer of JSON, which is parsed. */
static void ask_status(struct test *t)
{
    urza_answer *answer = NULL;
    urza_error err;
    registry_say(&t->registry, draw_way(t), 0);
    bool wrong = begin_fault(t, CLIENT_MEMORY);
    int code = urza_client_status(t->client, &answer, &err);
    wrong = end_fault(t, CLIENT_MEMORY) && wrong;
    t->injected[CLIENT_MEMORY] += wrong;
    assert_true((code == 0) == (answer != NULL));
    urza_answer_free(answer);
}

static void train(struct test *t)
{
    enum loop_fault fault = loop_draw(&t->loop, LOOP_FAULTS);
    loop_begin(&t->loop, fault);
    if (draw(t, 8) == 0)
        urza_runtime_trim(t->runtime, 0);
    if (fault == LOOP_NO_MEMORY)
        faults_begin(FAULTS_OURS, 1 + draw(t, 8), 0);
    place_step(&t->loop.place, t->slot, t->loop.counter, NULL);
    faults_end();
    t->steps_wrong += fault != LOOP_GOOD;
    loop_end(&t->loop, fault);
    urza_slot_tick(t->slot, NULL);
}

/* A seed is planted when its module is there, or before, and supplied or refused later. */
static void seed_of_registry(struct test *t)
{
    bool dormant = urza_slot_state_get(t->slot) == URZA_DORMANT, early = dormant && draw(t, 2);
    uint32_t seed = 0;
    urza_error err;
    if (early)
        must(urza_slot_plant(t->slot, "seed", NULL, &seed, &err), &err);
    urza_module *module = ask(t);
    if (early && module)
        must(urza_slot_supply(t->slot, seed, module, &err), &err);
    else if (early)
        urza_slot_refuse(t->slot, seed, "it did not come");
    else if (dormant && module)
        must(urza_slot_plant(t->slot, "seed", module, &seed, &err), &err);
    t->planted += dormant && module;
    t->seeds += early || (dormant && module);
    urza_unload(module);
}

/* Events of states follow each other without a gap, to the one that the slot has; one of PRUNED
 * says why; and each seed that was planted is told of. */
static void check_events(struct test *t)
{
    urza_slot_event events[256];
    uint32_t count = 256;
    urza_slot_events(t->slot, events, &count);
    for (uint32_t i = 0; i < count; i++) {
        const urza_slot_event *e = &events[i];
        assert_int_not_equal(e->kind, URZA_EVENT_LOST);
        if (e->kind != URZA_EVENT_STATE)
            continue;
        assert_int_equal(e->from, t->state);
        t->state = e->to;
        t->told += e->from == URZA_DORMANT;
        if (e->to == URZA_PRUNED)
            assert_true(strlen(e->reason) > 0);
    }
    assert_int_equal(t->state, urza_slot_state_get(t->slot));
}

static void step(struct test *t)
{
    const urza_command prune = {.kind = URZA_COMMAND_PRUNE, .ticks = 1};
    urza_error err;
    if (draw(t, 16) == 0)
        ask_status(t);
    seed_of_registry(t);
    for (uint32_t turns = 1 + draw(t, 12); turns > 0; turns--)
        train(t);
    if (draw(t, 24) == 0)
        (void)urza_slot_command(t->slot, &prune, &err);
    check_events(t);
}

/* The whole. */

static void begin(struct test *t, struct arena *arena)
{
    struct compile_result results[REGISTRY_PACKAGES];
    struct error problem;
    urza_error err;
    /* In memory, where there is such a folder: files are waited for otherwise. */
    snprintf(t->folder, sizeof t->folder, "/dev/shm/urza-faults-XXXXXX");
    if (!mkdtemp(t->folder)) {
        snprintf(t->folder, sizeof t->folder, "/tmp/urza-faults-XXXXXX");
        assert_non_null(mkdtemp(t->folder));
    }
    snprintf(t->cache, sizeof t->cache, "%s/cache", t->folder);
    if (!keys_open(t->folder, &t->key, &problem))
        TEST_FAILED("%s: %s", problem.place, problem.message);
    must(urza_runtime_new(NULL, &t->runtime, &err), &err);
    for (int i = 0; i < REGISTRY_PACKAGES; i++) { /* of two targets: two kernels, one function */
        const struct grafted what = {
            .dtype = "f32", .blend = "residual", .targets = i ? "x86-64-v2" : NULL, .key = &t->key};
        grafted_package(&what, arena, &results[i]);
        t->packages[i] = (struct registry_package){results[i].package, results[i].package_bytes,
                                                   arena_strdup(arena, results[i].kernel_id)};
    }
    registry_start(&t->registry, t->packages);
    const urza_slot_options options = {
        .train_ticks = 2, .blend_ticks = 6, .embargo_ticks = 1, .faults_most = 12};
    must(urza_slot_open(&options, &t->slot, &err), &err);
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    loop_init(&t->loop, module, t->slot, drawn_from);
    urza_unload(module); /* the place has its own parameters, in the same order */
}

/* When nothing fails any more a seed comes, and is blended in. */
static void all_is_well(struct test *t)
{
    urza_module *module;
    urza_error err;
    const urza_client_options options = {.cache_dir = t->cache,
                                         .trusted_keys = (const uint8_t(*)[32])t->key.public_key,
                                         .trusted_key_count = 1};
    registry_say(&t->registry, WAY_HONEST, 1);
    must(urza_client_open(t->registry.url, &options, &t->client, &err), &err);
    must(urza_loader_open(&(urza_loader_options){.client = t->client}, &t->loader, &err), &err);
    must(urza_loader_get(t->loader, "best", LONG_MS, &module, &err), &err);
    assert_string_equal(urza_kernel_id(module), t->packages[1].id);
    urza_slot_close(t->slot);
    t->slot = t->loop.slot = place_slot((urza_slot_options){0});
    place_plant(t->slot, module);
    urza_unload(module);
    place_reach(&t->loop.place, t->slot, URZA_HOLDING, 40);
    loop_begin(&t->loop, LOOP_GOOD);
    uint64_t helped = t->loop.helped;
    place_step(&t->loop.place, t->slot, 0, NULL);
    loop_end(&t->loop, LOOP_GOOD);
    assert_int_equal(t->loop.helped, helped + 1);
    close_host(t);
}

static void tell(const struct test *t)
{
    print_message("%llu faults: %llu by the registry", (unsigned long long)faults_so_far(t),
                  (unsigned long long)registry_faults(&t->registry));
    for (int way = WAY_HONEST + 1; way < WAY_COUNT; way++)
        print_message(", %s %llu", registry_way_name(way),
                      (unsigned long long)registry_answers(&t->registry, way));
    print_message("; %llu connections refused; %llu of memory, %llu of space, %llu of descriptors, "
                  "%llu folders gone, %llu damaged; %llu in steps\n",
                  (unsigned long long)t->refused, (unsigned long long)t->injected[CLIENT_MEMORY],
                  (unsigned long long)t->injected[CLIENT_SPACE],
                  (unsigned long long)t->injected[CLIENT_FILES],
                  (unsigned long long)t->injected[CLIENT_FOLDER],
                  (unsigned long long)t->injected[CLIENT_DAMAGE],
                  (unsigned long long)t->steps_wrong);
    print_message("%llu modules given, %llu not; %llu planted; the blend %llu times, h %llu times; "
                  "%llu fetched, %llu loaded, %llu failed\n",
                  (unsigned long long)t->given, (unsigned long long)t->not_given,
                  (unsigned long long)t->planted, (unsigned long long)t->loop.helped,
                  (unsigned long long)t->loop.hosts, (unsigned long long)t->stats.fetched,
                  (unsigned long long)t->stats.loaded, (unsigned long long)t->stats.failed);
}

static void every_step_ends(void **state)
{
    (void)state;
    static struct test t;
    struct arena arena;
    size_t warm_bytes = 0;
    arena_init(&arena);
    signal(SIGXFSZ, SIG_IGN);
    begin(&t, &arena);
    uint32_t files = open_files();
    while (faults_so_far(&t) < faults_wanted) {
        open_host(&t);
        for (int i = 0; i < (t.garbled ? GARBLED_STEPS : HOST_STEPS); i++)
            step(&t);
        close_host(&t);
        if (warm_bytes == 0 && faults_so_far(&t) >= faults_wanted / 2)
            warm_bytes = mallinfo2().uordblks;
    }
    size_t bytes = mallinfo2().uordblks;
    tell(&t);
    print_message("%zu bytes are allocated, %zu were in the middle\n", bytes, warm_bytes);
    assert_int_equal(open_files(), files);
    assert_true(bytes < warm_bytes + LEAKED_MOST);
    assert_int_equal(t.ready, t.stats.loaded);
    assert_int_equal(t.failed, t.stats.failed);
    assert_int_equal(t.told, t.seeds);
    assert_true(t.planted > 0 && t.given > 0 && t.not_given > 0);
    assert_true(t.loop.helped > 0 && t.loop.hosts > 0);
    all_is_well(&t);
    registry_stop(&t.registry);
    urza_slot_close(t.slot);
    urza_runtime_release(t.runtime);
    arena_release(&arena);
}

/* A package that is asked for with one allocation failing, then without: by a client that has a
 * connection already. Returns whether the allocation was made. */
static bool ask_twice(struct test *t, uint64_t fail_at, int mode)
{
    urza_module *module = NULL, *again = NULL;
    urza_package *package;
    urza_loader_stats stats;
    urza_error err;
    const urza_client_options options = {.trusted_keys = (const uint8_t(*)[32])t->key.public_key,
                                         .trusted_key_count = 1,
                                         .tries = 1};
    t->ready = t->failed = 0;
    must(urza_client_open(t->registry.url, &options, &t->client, &err), &err);
    const urza_loader_options loader = {
        .client = t->client, .failures = 1 << 30, .pause_ms = 1, .on_ready = count, .user = t};
    must(urza_loader_open(&loader, &t->loader, &err), &err);
    must(urza_client_fetch(t->client, "best", URZA_FETCH_DEFAULT, &package, &err), &err);
    urza_package_free(package);
    faults_begin(FAULTS_OURS, fail_at, mode);
    int code = urza_loader_get(t->loader, "best", LONG_MS, &module, &err);
    bool has_failed = code != 0;
    faults_end();
    bool made = fail_at > 0 && faults.count >= fail_at;
    assert_true((code == 0) == (module != NULL));
    /* Until the loader's thread is ready for it again, and the pause is over, the reason is given.
     */
    for (int tries = 0; !again && tries < 1000; tries++) {
        usleep(2000);
        code = urza_loader_get(t->loader, "best", LONG_MS, &again, &err);
        assert_true(code == 0 || code == ERR_NOMEM);
    }
    must(code, &err);
    must(urza_client_fetch(t->client, "best", URZA_FETCH_DEFAULT, &package, &err), &err);
    urza_package_free(package);
    urza_loader_stats_get(t->loader, &stats);
    urza_loader_close(t->loader);
    urza_client_close(t->client);
    assert_int_equal(t->failed, stats.failed);
    assert_true(t->failed <= has_failed); /* it may not have been asked for at all */
    assert_int_equal(t->ready, 1);
    urza_unload(module);
    urza_unload(again);
    return made;
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    static struct test t;
    struct arena arena;
    uint32_t made = 0;
    arena_init(&arena);
    begin(&t, &arena);
    ask_twice(&t, 0, FAULTS_COLLECT);
    uint32_t places = faults.place_count;
    for (uint32_t i = 0; i < places; i++)
        made += ask_twice(&t, faults.places[i], 0);
    print_message("%u allocations failed, of %u places\n", made, places);
    assert_true(!FAULTS_COUNTED || (places > 50 && made > places / 2));
    registry_stop(&t.registry);
    urza_slot_close(t.slot);
    urza_runtime_release(t.runtime);
    arena_release(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_fails_once),
                                       cmocka_unit_test(every_step_ends)};
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--exhaustive") == 0)
            faults_wanted = 1000000;
        else if (strcmp(argv[i], "--faults") == 0 && i + 1 < argc)
            faults_wanted = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            drawn_from = strtoull(argv[++i], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
