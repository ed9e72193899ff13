/* Processes are killed at random moments during commits and puts. When the stores are opened again,
 * everything that they had acknowledged through a pipe is there, and nothing is incomplete. */
#include "registry/test_util.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "registry/blobs.h"

#define ROUNDS 40
#define WRITERS 3 /* threads, so that commits are grouped */
#define TEXT_BYTES 20000

struct writer {
    struct catalogue *catalogue;
    struct blobs *blobs;
    int fd, round, number;
    pthread_t thread;
};

/* What a writer acknowledges: the records and the object of this step are stored. */
struct step {
    int round, number, step;
};

/* A text unique to this step, which is its object. */
static void text_of(const struct step *step, char text[TEXT_BYTES])
{
    int length = snprintf(text, TEXT_BYTES, "%d/%d/%d:", step->round, step->number, step->step);
    memset(text + length, 'a' + step->step % 26, (size_t)(TEXT_BYTES - 1 - length));
    text[TEXT_BYTES - 1] = '\0';
}

static void id_of(const struct step *step, char id[64])
{
    snprintf(id, 64, "%d-%d-%d", step->round, step->number, step->step);
}

static void *write_on(void *context)
{
    struct writer *writer = context;
    static _Thread_local char text[TEXT_BYTES];
    for (struct step step = {writer->round, writer->number, 0};; step.step++) {
        char id[64], object[SHA256_HEX_BYTES];
        struct error err;
        text_of(&step, text);
        id_of(&step, id);
        if (!blobs_put(writer->blobs, text, TEXT_BYTES, object, &err))
            abort();
        struct kernel_record kernel = {.head.id = id, .object = object, .reason = text};
        const struct record_type *type = record_type(RECORD_kernel);
        for (uint32_t i = 0; i < type->field_count; i++) {
            const char **field = (const char **)((char *)&kernel + type->fields[i].offset);
            if (type->fields[i].type <= FIELD_JSON && !*field)
                *field = "";
        }
        struct alias_record alias = {.head.id = id, .kernel = id};
        struct change changes[] = {{RECORD_kernel, EXPECT_NEW, false, &kernel},
                                   {RECORD_alias, EXPECT_NEW, false, &alias}};
        if (!catalogue_commit(writer->catalogue, changes, 2, &err) ||
            !file_write_all(writer->fd, &step, sizeof step))
            abort();
    }
    return NULL;
}

static void open_stores(struct bed *bed, struct catalogue **catalogue, struct blobs **blobs)
{
    char url[128];
    snprintf(url, sizeof url, "sqlite:%s/catalogue.db", bed->folder);
    ASSERT_OK(bed, catalogue_open(url, catalogue, &bed->err));
    snprintf(url, sizeof url, "file:%s/objects", bed->folder);
    ASSERT_OK(bed, blobs_open(url, blobs, &bed->err));
}

/* Runs in the child. */
static void write_until_killed(struct bed *bed, int fd, int round)
{
    struct writer writers[WRITERS];
    struct catalogue *catalogue;
    struct blobs *blobs;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_stores(bed, &catalogue, &blobs);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){catalogue, blobs, fd, round, i, 0};
        pthread_create(&writers[i].thread, NULL, write_on, &writers[i]);
    }
    pthread_join(writers[0].thread, NULL);
}

static void assert_there(struct bed *bed, struct catalogue *catalogue, struct blobs *blobs,
                         const char *id, const char *text)
{
    void *kernel = NULL, *alias = NULL;
    struct blob blob;
    ASSERT_OK(bed, catalogue_get(catalogue, RECORD_kernel, id, &bed->arena, &kernel, &bed->err));
    ASSERT_OK(bed, catalogue_get(catalogue, RECORD_alias, id, &bed->arena, &alias, &bed->err));
    assert_non_null(kernel);
    assert_non_null(alias);
    const struct kernel_record *k = kernel;
    if (text)
        assert_string_equal(k->reason, text);
    ASSERT_OK(bed, blobs_get(blobs, k->object, &blob, &bed->err));
    assert_int_equal(blob.size_bytes, TEXT_BYTES);
    assert_string_equal(blob.data, k->reason);
    blobs_release(blobs, &blob);
}

/* Reads the acknowledgements and checks that what they name is there; then checks that every record
 * is complete. Returns the number of acknowledgements. */
static int check_after(struct bed *bed, int fd)
{
    struct catalogue *catalogue;
    struct blobs *blobs;
    struct step step;
    int count = 0;
    open_stores(bed, &catalogue, &blobs);
    for (char id[64], text[TEXT_BYTES]; file_read_all(fd, &step, sizeof step); count++) {
        id_of(&step, id);
        text_of(&step, text);
        assert_there(bed, catalogue, blobs, id, text);
    }
    struct query query = {.kind = RECORD_alias, .limit = 50, .newest_first = true};
    struct records found;
    ASSERT_OK(bed, catalogue_list(catalogue, &query, &bed->arena, &found, &bed->err));
    for (uint32_t i = 0; i < found.count; i++)
        assert_there(bed, catalogue, blobs, ((struct record *)found.items[i])->id, NULL);
    struct totals kernels, aliases;
    ASSERT_OK(bed, catalogue_total(catalogue, &query, NULL, &aliases, &bed->err));
    query.kind = RECORD_kernel;
    ASSERT_OK(bed, catalogue_total(catalogue, &query, NULL, &kernels, &bed->err));
    assert_int_equal(kernels.count, aliases.count);
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    catalogue_close(catalogue);
    blobs_close(blobs);
    arena_release(&bed->arena);
    return count;
}

static void acknowledged_is_there(void **state)
{
    struct bed *bed = *state;
    uint64_t seed = (uint64_t)time(NULL), key = rng_key(seed);
    int count = 0;
    print_message("# seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(bed, ends[1], round);
            _exit(1);
        }
        close(ends[1]);
        long wait_ns = 1000000 + (long)(rng_u32(key, (uint64_t)round) % 120000000);
        nanosleep(&(struct timespec){.tv_nsec = wait_ns}, NULL);
        int status;
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        count += check_after(bed, ends[0]);
        close(ends[0]);
    }
    print_message("# %d steps acknowledged in %d lives\n", count, ROUNDS);
    assert_true(count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(acknowledged_is_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
