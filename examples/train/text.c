/* A transformer (examples/char_transformer.json) learns text, character by character: nine tenths
 * of it, the rest says how well. Then it writes. Usage: see options.h. FILES are the text; bytes
 * beyond ASCII count as '?'. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint.h"
#include "random.h"
#include "trainer.h"

enum { CHARACTERS = 128, WRITTEN = 240, BATCHES = 8 };

struct text {
    unsigned char *data;
    size_t size, from, to; /* windows are drawn from there */
    int64_t *x, *y, rows, length;
    uint64_t seed;
};

static void read_file(struct text *text, const char *path)
{
    FILE *file = fopen(path, "rb");
    int byte;
    if (!file)
        die("%s: cannot be read", path);
    while ((byte = fgetc(file)) != EOF) {
        if (text->size % 4096 == 0 && !(text->data = realloc(text->data, text->size + 4096)))
            die("%s: no memory for it", path);
        text->data[text->size++] = (unsigned char)(byte < CHARACTERS ? byte : '?');
    }
    if (ferror(file) | fclose(file))
        die("%s: cannot be read", path);
}

/* Each row is a window of the text; its targets are the characters behind each. */
static void fill(void *user, uint64_t step)
{
    const struct text *t = user;
    size_t places = t->to - t->from - (size_t)t->length;
    for (int64_t row = 0; row < t->rows; row++) {
        size_t at = t->from + random_bits(t->seed, step, (uint64_t)row) % places;
        for (int64_t i = 0; i < t->length; i++) {
            t->x[row * t->length + i] = t->data[at + (size_t)i];
            t->y[row * t->length + i] = t->data[at + (size_t)i + 1];
        }
    }
}

/* The mean loss of windows that were not trained on. */
static double unseen_loss(struct trainer *t, struct text *text)
{
    double sum = 0;
    text->from = text->to;
    text->to = text->size;
    for (uint64_t i = 0; i < BATCHES; i++) {
        DLTensor outputs[2]; /* logits, loss */
        int64_t shapes[2][8];
        fill(text, RANDOM_UNSEEN + i);
        urza_result *hold = trainer_evaluate(t, t->inputs, outputs, shapes, 2);
        sum += (double)*(float *)outputs[1].data;
        urza_result_release(hold);
    }
    return sum / BATCHES;
}

/* By the probabilities that the logits say, sharpened a little. */
static int draw_character(const float *logits, float unit)
{
    float most = logits[0], total = 0;
    int c = 0;
    for (int i = 1; i < CHARACTERS; i++)
        most = fmaxf(most, logits[i]);
    for (int i = 0; i < CHARACTERS; i++)
        total += expf((logits[i] - most) / 0.8F);
    for (float left = unit * total; c + 1 < CHARACTERS; c++) {
        left -= expf((logits[c] - most) / 0.8F);
        if (left < 0)
            break;
    }
    return c;
}

/* Each character follows from the ones before it, as many as the model was trained to see. */
static void write_text(struct trainer *t, struct text *text)
{
    int64_t seen[WRITTEN + 1] = {'\n'}, row[2], place[1];
    DLTensor inputs[3] = {t->inputs[0], t->inputs[1], t->inputs[2]}; /* x, place, y */
    inputs[0].shape = inputs[2].shape = row;
    inputs[1].shape = place;
    for (int made = 1; made <= WRITTEN; made++) {
        int64_t length = made < text->length ? made : text->length;
        DLTensor outputs[2];
        int64_t shapes[2][8];
        row[0] = 1;
        row[1] = place[0] = length;
        inputs[0].data = inputs[2].data = seen + made - length;
        urza_result *hold = trainer_evaluate(t, inputs, outputs, shapes, 2);
        const float *last = (float *)outputs[0].data + (length - 1) * CHARACTERS;
        float unit = random_unit(random_bits(text->seed, 2 * RANDOM_UNSEEN, (uint64_t)made));
        seen[made] = draw_character(last, unit);
        urza_result_release(hold);
        putchar((int)seen[made]);
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    struct options options = {.steps = 400, .lr = 0.002F};
    struct trainer t;
    struct text text = {0};
    const int64_t *shape, *place_shape;
    options_parse(&options, argc, argv, "train-text NET.urza STEP.urza KEY FILE...");
    for (int i = 0; i < options.file_count; i++)
        read_file(&text, options.files[i]);
    trainer_open(&t, &options);
    text.x = trainer_input(&t, "x", kDLInt, 64, &shape);
    text.y = trainer_input(&t, "y", kDLInt, 64, NULL);
    text.rows = shape[0];
    text.length = shape[1];
    text.seed = options.seed;
    text.to = text.size / 10 * 9;
    if (t.net_inputs != 3 || text.size - text.to <= (size_t)text.length + 1)
        die("%zu characters of text are too few for rows of %" PRId64, text.size, text.length);
    int64_t *place = trainer_input(&t, "place", kDLInt, 64, &place_shape);
    for (int64_t i = 0; i < place_shape[0]; i++)
        place[i] = i;
    t.data = checksum(0, text.data, text.size);
    trainer_run(&t, &options, fill, &text);
    trainer_hand_over(&t);
    printf("loss %.4f on unseen text\n", unseen_loss(&t, &text));
    write_text(&t, &text);
    trainer_close(&t);
    free(text.data);
    return 0;
}
