/* Treiber's stack over indices. The head holds a count of changes beside the index, which prevents
 * the ABA problem: a head that was taken and put back is not mistaken for an unchanged one. Objects
 * are never freed while the stack is in use, so reading the link of an object that another thread
 * has just taken is harmless. */
#include "runtime/parts_priv.h"

#define CHANGE ((uint64_t)1 << 32)

struct pooled *stack_take(struct stack *stack)
{
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_acquire);
    for (;;) {
        uint32_t number = (uint32_t)head;
        if (number == 0)
            return NULL;
        struct pooled *item = atomic_load_explicit(&stack->items[number - 1], memory_order_relaxed);
        uint32_t next = atomic_load_explicit(&item->next, memory_order_relaxed);
        uint64_t below = ((head & ~(CHANGE - 1)) + CHANGE) | next;
        if (atomic_compare_exchange_weak_explicit(&stack->head, &head, below, memory_order_acquire,
                                                  memory_order_acquire))
            return item;
    }
}

void stack_put(struct stack *stack, struct pooled *item)
{
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_relaxed);
    uint64_t top;
    do {
        atomic_store_explicit(&item->next, (uint32_t)head, memory_order_relaxed);
        top = ((head & ~(CHANGE - 1)) + CHANGE) | item->number;
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, top, memory_order_release,
                                                    memory_order_relaxed));
}

bool stack_register(struct stack *stack, struct pooled *item)
{
    uint32_t index = atomic_load(&stack->count);
    do {
        if (index == POOLED_MAX)
            return false;
    } while (!atomic_compare_exchange_weak(&stack->count, &index, index + 1));
    item->number = index + 1;
    /* Sequentially consistent: shapes.c relies on seeing every registered context. */
    atomic_store(&stack->items[index], item);
    return true;
}
