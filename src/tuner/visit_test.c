/* A thread that asks for a config does not wait for another's lock, reading or writing, and a tuner
 * that is used again and again takes no more memory. The tests stop other threads at fixed points;
 * they measure no times. */
#include "tuner/test_util.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Another thread, and whether it has finished. */
struct other {
    urza_tuner *tuner;
    struct entry *entry; /* to store; NULL: ask for the config of invocation */
    const char *invocation;
    pthread_t thread;
    atomic_bool done;
};

static void *work(void *argument)
{
    struct other *other = argument;
    if (other->entry) {
        keep(other->tuner, other->entry);
    } else {
        char *config = NULL;
        assert_int_equal(urza_tuner_choose(other->tuner, other->invocation, &config, NULL, NULL),
                         0);
        urza_tune_free(config);
    }
    atomic_store(&other->done, true);
    return NULL;
}

static urza_config_source source_of(urza_tuner *tuner, const struct invocation *invocation)
{
    urza_config_source source = 0;
    char *config = NULL;
    assert_int_equal(urza_tuner_choose(tuner, invocation->json, &config, &source, NULL), 0);
    urza_tune_free(config);
    return source;
}

/* Locks the folder's lock file, as another process would. */
static int hold_lock(struct fixture *f)
{
    char path[64];
    snprintf(path, sizeof path, "%s/lock", f->folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

/* While one thread waits to write its measurement, other threads already get it from memory. */
static void writers_keep_nobody(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    struct entry entry = entry_from(f, &a, 3, 1000);
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    struct other other = {.tuner = tuner, .entry = &entry};
    char *list = NULL;
    int lock = hold_lock(f);
    assert_int_equal(pthread_create(&other.thread, NULL, work, &other), 0);
    while (source_of(tuner, &a) != URZA_CONFIG_MEMORY)
        sched_yield();
    assert_int_equal(source_of(tuner, &b), URZA_CONFIG_HEURISTIC);
    assert_int_equal(urza_tuner_overlay_push(tuner, "*", "{\"rows\":1}", NULL), 0);
    assert_int_equal(source_of(tuner, &b), URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_list(tuner, &list, NULL), 0);
    assert_false(atomic_load(&other.done));
    close(lock);
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    urza_tune_free(list);
    urza_tuner_close(tuner);
    tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    assert_int_equal(source_of(tuner, &a), URZA_CONFIG_PERSISTENT);
    urza_tuner_close(tuner);
    assert_int_equal(f->warning_count, 0);
}

/* A record that could not be written is written by the next visit that writes, or on closing. */
static void records_wait_alone(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    urza_tuner_options options = {.directory = f->folder, .record = 1};
    urza_tuner *tuner, *reader;
    for (int by_close = 0; by_close < 2; by_close++) {
        char *list = NULL;
        uint32_t cleared;
        assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
        int lock = hold_lock(f);
        assert_int_equal(source_of(tuner, &a), URZA_CONFIG_HEURISTIC);
        assert_int_equal(tuner->memory->pending.entries.count, 1);
        close(lock);
        if (!by_close) {
            assert_int_equal(source_of(tuner, &b), URZA_CONFIG_HEURISTIC);
            assert_int_equal(tuner->memory->pending.entries.count, 0);
        } else {
            urza_tuner_close(tuner);
        }
        assert_int_equal(urza_tuner_open(&options, &reader, NULL), 0);
        assert_int_equal(urza_tuner_list(reader, &list, NULL), 0);
        assert_non_null(strstr(list, a.key));
        assert_int_equal(strstr(list, b.key) != NULL, !by_close);
        urza_tune_free(list);
        assert_int_equal(urza_tuner_clear(reader, "*", &cleared, NULL), 0);
        assert_int_equal(cleared, by_close ? 1 : 2);
        urza_tuner_close(reader);
        if (!by_close)
            urza_tuner_close(tuner);
    }
}

/* Stops the first thread that reads the damaged file, in its warning callback. */
struct gate {
    pthread_t kept;
    atomic_int state; /* one of GATE_OPEN … GATE_LEFT */
};
enum { GATE_OPEN, GATE_AWAITED, GATE_REACHED, GATE_LEFT };

static void wait_at_gate(void *user, const char *message)
{
    struct gate *gate = user;
    int awaited = GATE_AWAITED;
    (void)message;
    if (pthread_equal(pthread_self(), gate->kept) ||
        !atomic_compare_exchange_strong(&gate->state, &awaited, GATE_REACHED))
        return;
    while (atomic_load(&gate->state) != GATE_LEFT)
        sched_yield();
}

static void damage_file(const urza_tuner *tuner)
{
    struct error err;
    assert_true(file_write_atomic(tuner->file.path, "x\n", 2, 0644, &err));
}

static void readers_keep_nobody(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    struct entry entry = entry_from(f, &a, 3, 1000);
    struct gate gate = {.kept = pthread_self()}; /* this thread is not stopped */
    urza_tuner_options options = {
        .directory = f->folder, .on_warning = wait_at_gate, .user = &gate};
    urza_tuner *tuner;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    keep(tuner, &entry);
    damage_file(tuner);
    struct other other = {.tuner = tuner, .invocation = b.json};
    atomic_store(&gate.state, GATE_AWAITED);
    int lock = hold_lock(f); /* so that no thread repairs the file */
    assert_int_equal(pthread_create(&other.thread, NULL, work, &other), 0);
    while (atomic_load(&gate.state) != GATE_REACHED)
        sched_yield();
    assert_int_equal(source_of(tuner, &a), URZA_CONFIG_MEMORY);
    assert_int_equal(source_of(tuner, &b), URZA_CONFIG_HEURISTIC); /* this thread reads the file
                                                                      itself */
    assert_false(atomic_load(&other.done));
    atomic_store(&gate.state, GATE_LEFT);
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    close(lock);
    urza_tuner_close(tuner);
}

/* Entries that are cleared while another thread reads the file are not restored by what it read. */
static void forgotten_stays_so(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    struct entry entry = entry_from(f, &a, 3, 1000);
    struct gate gate = {.kept = pthread_self()};
    urza_tuner_options options = {
        .directory = f->folder, .on_warning = wait_at_gate, .user = &gate};
    urza_tuner *tuner;
    struct error err;
    char *text;
    size_t size;
    uint32_t cleared;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    keep(tuner, &entry);
    urza_tuner_close(tuner);
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    assert_true(file_read(tuner->file.path, 1 << 20, &text, &size, &err));
    text[size - 1] = 'x'; /* one line too many: reading it gives a warning and the entry */
    struct strbuf longer;
    strbuf_init(&longer, &f->arena);
    strbuf_printf(&longer, "%.*s\nx\n", (int)size - 1, text);
    assert_true(file_write_atomic(tuner->file.path, longer.data, longer.size_bytes, 0644, &err));
    free(text);
    struct other other = {.tuner = tuner, .invocation = b.json};
    atomic_store(&gate.state, GATE_AWAITED);
    assert_int_equal(pthread_create(&other.thread, NULL, work, &other), 0);
    while (atomic_load(&gate.state) != GATE_REACHED)
        sched_yield();
    assert_int_equal(urza_tuner_clear(tuner, "*", &cleared, NULL), 0);
    assert_int_equal(cleared, 1);
    atomic_store(&gate.state, GATE_LEFT);
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    assert_int_equal(source_of(tuner, &a), URZA_CONFIG_HEURISTIC);
    urza_tuner_close(tuner);
}

/* Everything that a tuner may do repeatedly. at: the time of the measurement, later each time, so
 * that the new entry replaces the old one. */
static void use(struct fixture *f, urza_tuner *tuner, const struct invocation *invocation,
                int64_t at)
{
    struct entry entry = entry_from(f, invocation, (int32_t)(1 + at % 7), at);
    struct cache_file file = tuner->file;
    struct table table;
    struct warner quiet = {NULL, NULL};
    struct arena arena;
    uint32_t cleared;
    arena_init(&arena);
    keep(tuner, &entry);
    assert_int_equal(source_of(tuner, invocation), URZA_CONFIG_MEMORY);
    assert_int_equal(urza_tuner_override(tuner, "a", "{\"rows\":2}", NULL), 0);
    assert_int_equal(urza_tuner_overlay_push(tuner, "b", "{\"rows\":2}", NULL), 0);
    assert_int_equal(urza_tuner_overlay_add(tuner, "c", "{\"rows\":2}", NULL), 0);
    assert_int_equal(urza_tuner_policy_push(tuner, URZA_TUNE_REQUIRE, NULL), 0);
    assert_int_equal(urza_tuner_policy_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_override(tuner, "a", NULL, NULL), 0);
    if (at % 4 == 0) { /* another process has measured: the file is read again */
        assert_int_equal(urza_tuner_clear(tuner, "*", &cleared, NULL), 0);
        table_init(&table, &arena);
        table_merge(&table, &entry);
        cache_file_merge(&file, &table, true, &quiet);
        assert_int_equal(source_of(tuner, invocation), URZA_CONFIG_PERSISTENT);
    }
    arena_release(&arena);
}

static void asking_again_takes_no_memory(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    urza_tuner_options options = {.directory = f->folder, .record = 1};
    urza_tuner *tuner;
    size_t most[2] = {0, 0};
    enum { ROUNDS = 60 };
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    assert_int_equal(urza_tuner_override(tuner, "kept", "{\"rows\":5}", NULL), 0);
    for (int i = 1; i <= 2 * ROUNDS; i++) {
        use(f, tuner, &product, i);
        size_t bytes = tuner->memory->arena.used_bytes + tuner->disk.arena.used_bytes +
                       tuner->arena.used_bytes;
        size_t *of_half = &most[i > ROUNDS];
        *of_half = bytes > *of_half ? bytes : *of_half;
    }
    assert_true(most[1] <= most[0] + 1024);
    assert_int_equal(tuner->memory->overrides.rules.count, 1);
    assert_int_equal(tuner->memory->overrides.rules.items[0].config.value[CONFIG_ROWS], 5);
    assert_int_equal(tuner->memory->scopes.open.count, 0);
    urza_tuner_close(tuner);
}

/* Memory is compacted when most of it is garbage, and its contents stay the same. */
static void moving_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation other = invocation_from(f, PRODUCT("25", "32", "16"));
    struct entry entry = entry_from(f, &product, 3, 1000);
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_REQUIRE);
    const struct memory *first = tuner->memory;
    keep(tuner, &entry);
    assert_int_equal(urza_tuner_override(tuner, "kept", "{\"rows\":5}", NULL), 0);
    assert_int_equal(urza_tuner_overlay_push(tuner, other.key, "{\"rows\":6}", NULL), 0);
    assert_int_equal(urza_tuner_policy_push(tuner, URZA_TUNE_HEURISTIC, NULL), 0);
    for (int i = 0; i < 100000 && tuner->memory == first; i++) {
        assert_int_equal(urza_tuner_overlay_push(tuner, "x", "{\"rows\":7}", NULL), 0);
        assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    }
    assert_ptr_not_equal(tuner->memory, first);
    assert_int_equal(source_of(tuner, &product), URZA_CONFIG_MEMORY);
    assert_int_equal(source_of(tuner, &other), URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    assert_int_equal(source_of(tuner, &other), URZA_CONFIG_HEURISTIC);
    assert_int_equal(urza_tuner_policy_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_policy_pop(tuner, NULL), ERR_USAGE);
    assert_int_equal(urza_tuner_override(tuner, "kept", NULL, NULL), 0);
    urza_tuner_close(tuner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TUNER_TEST(writers_keep_nobody),          TUNER_TEST(records_wait_alone),
        TUNER_TEST(readers_keep_nobody),          TUNER_TEST(forgotten_stays_so),
        TUNER_TEST(asking_again_takes_no_memory), TUNER_TEST(moving_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
