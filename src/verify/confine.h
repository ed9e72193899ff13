/* Takes from a process what code under judgement has no use for. */
#ifndef URZA_VERIFY_CONFINE_H
#define URZA_VERIFY_CONFINE_H

/* From now on this process and its threads have no descriptors but ones they make (standard ones
 * lead nowhere), and no system calls but those for memory, threads, time and memory files: others
 * fail with EPERM. So code that runs here reaches no file, process or terminal of the user, and
 * cannot put off its alarm. Code that means harm can still write anything in this process, its
 * results included: a verdict on code of a stranger is no substitute for a signature. Where the
 * system has no filters, or they are of another machine, the calls stay. */
void confine(void);

#endif
