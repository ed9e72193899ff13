/* A convolutional net (examples/digits_conv.json) learns to read digits that it draws itself.
 * Usage: see options.h. STEP is compiled with --loss "cross_entropy(logits)". */
#include <inttypes.h>
#include <stdio.h>

#include "draw.h"
#include "random.h"
#include "trainer.h"

struct digits {
    float *images;
    int64_t *labels, count;
    uint64_t seed;
};

static void fill(void *user, uint64_t step)
{
    const struct digits *d = user;
    for (int64_t i = 0; i < d->count; i++)
        d->labels[i] =
            draw_digit(d->images + i * DRAW_PIXELS, random_bits(d->seed, step, (uint64_t)i));
}

static int64_t count_right(const struct digits *d, const float *logits)
{
    int64_t right = 0;
    for (int64_t i = 0; i < d->count; i++) {
        const float *row = logits + i * DRAW_CLASSES;
        int best = 0;
        for (int c = 1; c < DRAW_CLASSES; c++)
            best = row[c] > row[best] ? c : best;
        right += best == d->labels[i];
    }
    return right;
}

int main(int argc, char **argv)
{
    struct options options = {.steps = 200, .lr = 0.003F};
    struct trainer t;
    const int64_t *shape;
    options_parse(&options, argc, argv, "train-digits NET.urza STEP.urza KEY");
    if (options.file_count > 0)
        die("%s: this program reads no files", options.files[0]);
    trainer_open(&t, &options);
    struct digits d = {.images = trainer_input(&t, "x", kDLFloat, 32, &shape),
                       .labels = trainer_input(&t, "target", kDLInt, 64, NULL),
                       .count = shape[0],
                       .seed = options.seed};
    if (tensor_bytes(&t.inputs[0]) != (size_t)d.count * DRAW_PIXELS * sizeof(float))
        die("input 'x' is no batch of images of %d pixels", DRAW_PIXELS);
    trainer_run(&t, &options, fill, &d);

    enum { BATCHES = 8 };
    int64_t right = 0;
    trainer_hand_over(&t);
    for (uint64_t i = 0; i < BATCHES; i++) {
        DLTensor logits;
        int64_t logits_shape[1][8];
        fill(&d, RANDOM_UNSEEN + i);
        urza_result *hold = trainer_evaluate(&t, t.inputs, &logits, logits_shape, 1);
        right += count_right(&d, logits.data);
        urza_result_release(hold);
    }
    printf("%" PRId64 " of %" PRId64 " unseen digits read\n", right, BATCHES * d.count);
    trainer_close(&t);
    return 0;
}
