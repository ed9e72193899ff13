#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "registry/queue_priv.h"

#include <cmocka.h>

int main(void)
{
    return 0;
}
