#include "runtime/test_util.h"

#include <sys/mman.h>
#include <unistd.h>

#define PROMISED ((size_t)16 << 10)
#define ROOM ((size_t)1 << 20) /* more stack than anything here takes */

/* Dims that take much stack to parse: nested quotients, and maxima. */
static const char quotients[] =
    "4*B + ((6*(2*((6*((2*(((7*(6*((((7*((4*((5*((6*((4*((6*((3*((3*(4*B)//3*3 + 3)//3)//4*4 + "
    "4)//3)//3*3 + 3)//6)//3*3 + 3)//4)//9*9 + 9)//6)//4*4 + 4)//5)//1*1 + 1)//4)//6*6 + 6)//7 + "
    "1)//6 + 8)//6) - B)//4*4 + 4)//7 + B)//2) - B + 1*B)//6) - B + B*B)//2) - B)//6*6 + 6)//6 + "
    "9)//6";
static const char maxima[] =
    "4*B + max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(4*B, B*B), B*B + 1), B*B + "
    "2), B*B + 3), B*B + 4), B*B + 5), B*B + 6), B*B + 7), B*B + 8), B*B + 9), B*B + 10), B*B + "
    "11), B*B + 12), B*B + 13), B*B + 14)";

struct job {
    struct test_package package;
    const char *target;
    urza_module *module;
    bool called;
};

static void *nothing(void *argument)
{
    return argument;
}

static void *load(void *argument)
{
    struct job *job = argument;
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .target = job->target};
    urza_error err;
    must_work(urza_load_memory(job->package.bytes.data, job->package.bytes.size_bytes, &options,
                               &job->module, &err),
              &err);
    return NULL;
}

static void *call(void *argument)
{
    struct job *job = argument;
    urza_error err;
    test_call(job->module, 3);
    must_work(urza_prepare(job->module, &err), &err);
    test_call(job->module, 3);
    job->called = true;
    return NULL;
}

static void *unload(void *argument)
{
    urza_unload(((struct job *)argument)->module);
    return NULL;
}

/* Runs work on a stack of this size with an inaccessible page below it, and returns how much stack
 * was used. */
static size_t run_on(size_t stack_bytes, void *(*work)(void *), void *argument)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    stack_bytes = (stack_bytes + page - 1) / page * page;
    char *memory =
        mmap(NULL, page + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory, page, PROT_NONE), 0);
    char *stack = memory + page;
    memset(stack, 0x5a, stack_bytes);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, stack_bytes), 0);
    assert_int_equal(pthread_create(&thread, &attributes, work, argument), 0);
    pthread_join(thread, NULL);
    size_t unused = 0;
    while (stack[unused] == 0x5a)
        unused++;
    munmap(memory, page + stack_bytes);
    return stack_bytes - unused;
}

static void check_package(const char *temp_elements, const char *target)
{
    struct job job = {.target = target};
    test_package_make(&job.package, temp_elements, NULL);
    size_t start = run_on(ROOM, nothing, NULL); /* what starting a thread takes */
    run_on(start + PROMISED, load, &job);
    run_on(start + PROMISED, call, &job);
    run_on(start + PROMISED, unload, &job);
    assert_true(job.called);
    test_package_free(&job.package);
}

static void what_is_promised_is_enough(void **state)
{
    (void)state;
    if (URZA_SANITIZED) {
        print_message("sanitizers take stack of their own\n");
        skip();
    }
    static const char *const elements[] = {"4*B", quotients, maxima};
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
        check_package(elements[i], NULL);
        check_package(elements[i], "interpreter");
    }
    check_package(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_promised_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
