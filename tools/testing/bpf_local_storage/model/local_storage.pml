/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF local storage: who frees an element, who touches an owner, when a map may go.
 *
 * A SPIN model of kernel/bpf/bpf_local_storage*.c, to be read beside them; the rules are argued in
 * Documentation/bpf/local_storage.rst. Each proctype or inline names the functions it stands for.
 * What is not said there is said here:
 *
 *  - Every attempt to take a lock may be refused, any number of times (unless NO_REFUSAL is set).
 *    A path that retries does so after a state labelled progress. So a search for non-progress
 *    cycles shows that every run with finitely many refusals ends; "watch" then looks at what is
 *    left over.
 *  - Taking a lock is one step with the first access under it, and releasing it with the last. What
 *    others can see without the lock in between has steps of its own.
 *  - A grace period waits for exactly those sections that had begun when it was asked for. There
 *    are two flavours, RCU and RCU Tasks Trace; a grace period of the second is one of the first.
 *  - Elements and storages are numbered and no number is used again, so that a stale one shows.
 *  - Map A has its place in slots[]; a value of map B is found as clone and diag find values, by a
 *    walk of the storage's list. Further slots, and memory that two share, are left to KUnit.
 *  - Memory is sequentially consistent, and a map has one bucket and one count. Allocations do not
 *    fail, updates have no flags, and no context interrupts another on its CPU.
 *  - Whoever creates or deletes a value has references to the owner and to the map until it is done:
 *    destroy and map_free begin when there is none left.
 *
 * A broken variant is selected with -DBROKEN_xxx: run.sh has them, with what each must violate.
 */

/* The scene: who takes part. run.sh sets these. */
#ifndef OWNERS
#define OWNERS		1
#endif
#ifndef OPS0			/* operations of the sleepable program */
#define OPS0		0
#endif
#ifndef OPS1			/* operations of the other program, on map B and the last owner */
#define OPS1		0
#endif
#ifndef VISITORS		/* iterators over map B */
#define VISITORS	0
#endif
#ifndef FEWEST			/* what an owner starts with: from FEWEST to MOST, bits A and B */
#define FEWEST		0
#endif
#ifndef MOST
#define MOST		3
#endif
#ifndef PROMPT			/* callbacks run as soon as their grace period is over */
#define PROMPT		0
#endif
#ifndef MAPS0			/* which maps the sleepable program has: bits A and B */
#define MAPS0		3
#endif
#ifndef FREE_A			/* which maps are freed? */
#define FREE_A		1
#endif
#ifndef FREE_B
#define FREE_B		0
#endif

#define NE		(2 * OWNERS + OPS0 + OPS1)	/* elements, at most 8 */
#define NS		(OWNERS + OPS0 + OPS1)		/* storages */
#define NONE		15
#define A		0
#define B		1

/* Charges: of an element, of a storage. */
#define ELEM		1
#define STOR		8

#define bit(n)		(1 << (n))

/* SELEM_MAP and SELEM_STORAGE */
#define MAP		1
#define STORAGE		2

/* What becomes of memory. RIDES: freed by the callback of the storage. */
#define UNUSED		0
#define LIVE		1
#define DYING		2
#define RIDES		3
#define FREED		4

/* Names for the asserts to fail by; all zero. */
hidden byte I1_freed_twice, I1_used_after_free, I1_left_over, I2_record_gone, I2_fields_left;
hidden byte I3_owner_gone, I3_map_gone, I4_charge, I5_freed_on_list, I5_found_unlinked,
	I5_not_on_list;
hidden byte I7_lost_race;
hidden byte i, j, lists;		/* scratch, inside one step */

/* struct bpf_local_storage_elem */
byte e_mem[NE];				/* UNUSED to FREED */
byte e_gp[NE];				/* sections that its grace period still waits for */
byte e_storage[NE];			/* selem->storage */
byte e_state[NE];			/* selem->state */
byte of_b;				/* elements of map B, the others are of map A */
byte fields;				/* elements with something in a special field */

/* struct bpf_local_storage */
byte s_mem[NS];
byte s_gp[NS];
byte s_list[NS];			/* elements on storage->list, or on destroy's private one */
byte s_slot[NS];			/* slots[] of map A */
byte s_owner[NS];
byte s_charge[NS];			/* mem_charge */
byte s_gate[NS];			/* who is inside, without CLOSED */
byte s_riders[NS];
bool s_closed[NS], s_lock[NS], s_detached[NS];

/* struct bpf_local_storage_map, with its one bucket */
byte b_list[2];
bool b_lock[2], b_spliced[2];
byte m_live[2], m_refs[2];
bool m_gone[2];
byte m_list[2], m_kept[2];		/* map_free's private lists */

/* The owners. o_charge is sk_omem_alloc. */
byte o_storage[OWNERS], o_charge[OWNERS], o_refs[OWNERS];
bool o_gone[OWNERS];

byte orphan_e, orphan_s;		/* the llist "orphans" */
byte worker_e;				/* what the work item has taken from it */
bool kicked;				/* irq_work and work item */

byte in_rcu, in_trace;			/* open read-side sections of the two flavours */
byte running;				/* processes that have not finished */

#define map_of(e)	((of_b >> (e)) & 1)
#define use_elem(e)	assert((e_mem[e] != UNUSED && e_mem[e] != FREED) || I1_used_after_free)
#define use_storage(s)	assert((s_mem[s] != UNUSED && s_mem[s] != FREED) || I1_used_after_free)
#define use_owner(o)	assert(!o_gone[o] || I3_owner_gone)
#define use_map(m)	assert(!m_gone[m] || I3_map_gone)

#ifdef NO_REFUSAL
#define refused		false
#else
#define refused		true
#endif

/* Sections: who, as a bit of rcu or trace. */
#define PROG0		bit(0)
#define PROG1		bit(1)
#define PROG0_WALK	bit(2)
#define FREE_MAP(m)	bit(3 + (m))
#define DESTROY(o)	bit(5 + (o))
#define VISIT		bit(7)

inline lowest(set, n)
{
	d_step {
		n = 0;
		do
		:: !((set) & bit(n)) -> n++
		:: else -> break
		od
	}
}

/*
 * selem_release(): the end of an element, in an RCU callback. Nobody may look at it any more, so
 * what it was is forgotten here, for fewer states.
 */
inline release_elem(e, m)
{
	d_step {
		m = map_of(e);
		use_map(m);
#ifdef BROKEN_COUNTED_OFF_EARLY
		m_live[m]--;
#else
		elem_gone(e, m);
#endif
	}
	d_step {
#ifdef BROKEN_COUNTED_OFF_EARLY
		elem_gone(e, m);
#else
		use_map(m);
		m_live[m]--;
#endif
		m = 0
	}
}

inline elem_gone(e, m)
{
	assert(!m_gone[m] || I2_record_gone);
#ifndef BROKEN_FIELDS_FREED_EARLY
	fields = fields & ~bit(e);
#endif
	e_mem[e] = FREED;
	e_storage[e] = 0;
	e_state[e] = 0;
	of_b = of_b & ~bit(e)
}

inline storage_gone(s)
{
	s_mem[s] = FREED;
	s_slot[s] = 0;
	s_owner[s] = 0;
	s_charge[s] = 0;
	s_riders[s] = 0;
	s_closed[s] = 0;
	s_detached[s] = 0
}

/* With PROMPT, whatever may be freed by now is. */
inline sweep()
{
#if PROMPT
	for (i : 0 .. NS - 1) {
		if
		:: s_mem[i] == DYING && !s_gp[i] ->
			for (j : 0 .. NE - 1) {
				e_mem[j] = (s_riders[i] & bit(j) -> DYING : e_mem[j])
			}
			storage_gone(i)
		:: else
		fi
	}
	for (i : 0 .. NE - 1) {
		if
		:: e_mem[i] == DYING && !e_gp[i] ->
			j = map_of(i);
			elem_gone(i, j);
			use_map(j);
			m_live[j]--
		:: else
		fi
	}
#endif
	i = 0;
	j = 0
}

inline section_ends(who)
{
	d_step {
		in_rcu = in_rcu & ~(who);
		in_trace = in_trace & ~(who);
		for (i : 0 .. NE - 1) {
			e_gp[i] = e_gp[i] & ~(who);
		}
		for (i : 0 .. NS - 1) {
			s_gp[i] = s_gp[i] & ~(who);
		}
		sweep()
	}
}

/* bpf_selem_free(), bpf_selem_free_unlinked(), bpf_selem_ride(): the one way out. */
inline free_elem(e, how, sections)
{
	d_step {
		assert(e_mem[e] == LIVE || I1_freed_twice);
		lists = b_list[A] | b_list[B] | m_list[A] | m_list[B] | m_kept[A] | m_kept[B] |
			orphan_e | worker_e;
		for (i : 0 .. NS - 1) {
			lists = lists | s_list[i];
		}
		assert(!(lists & bit(e)) || I5_freed_on_list);
		e_mem[e] = how;
		e_gp[e] = sections;
		sweep()
	}
}

/* bpf_local_storage_free() */
inline free_storage(s)
{
	d_step {
		assert(s_mem[s] == LIVE || I1_freed_twice);
		assert(!s_list[s] || I5_freed_on_list);
		s_mem[s] = DYING;
#ifdef BROKEN_STORAGE_RCU_ONLY
		s_gp[s] = in_rcu;
#else
		s_gp[s] = in_rcu | in_trace;
#endif
		sweep()
	}
}

inline uncharge(o, size)
{
	use_owner(o);
	assert(o_charge[o] >= size || I4_charge);
	o_charge[o] = o_charge[o] - (size)
}

/* bpf_selem_unlink_storage() */
inline unlink_storage(s, e)
{
	s_list[s] = s_list[s] & ~bit(e);
#ifndef BROKEN_SLOT_LEFT
	if
	:: map_of(e) == A -> s_slot[s] = NONE
	:: else
	fi
#endif
}

/*
 * bpf_local_storage_shut() of a storage that was emptied: does the caller close the gate? Not if
 * destroy was first, nor if anybody but the caller is inside: who is may touch the owner, and
 * destroy waits only for those inside the storage that it finds. Then the storage, though empty,
 * stays the owner's.
 */
inline shut(s, self, mine)
{
	d_step {
		use_storage(s);
#if defined(BROKEN_CLOSED_BY_TWO)
		mine = 1;
#elif defined(BROKEN_VISITOR_LEFT_INSIDE)
		mine = !s_closed[s];
#else
		mine = !s_closed[s] && s_gate[s] == self;
#endif
		s_closed[s] = s_closed[s] || mine
	}
}

/* bpf_local_storage_part() */
inline part(o)
{
	atomic { use_owner(o); o_storage[o] = NONE }
}

/* atomic_fetch_andnot() at the end of bpf_selem_unlink_nofail(): is the element the caller's? */
inline give_up(e, held, mine)
{
#ifdef BROKEN_BOTH_FREE
	atomic { use_elem(e); e_state[e] = e_state[e] & ~(held) };
	mine = !e_state[e]
#else
	d_step { use_elem(e); e_state[e] = e_state[e] & ~(held); mine = !e_state[e] }
#endif
}

#if !PROMPT
#define ELEM_READY(n)							\
	:: atomic { n < NE && e_mem[n % NE] == DYING && !e_gp[n % NE] -> e = n % NE };	\
		release_elem(e, m);					\
		e = NONE
#define STORAGE_READY(n)						\
	:: n < NS && s_mem[n % NS] == DYING && !s_gp[n % NS] -> s = n % NS

/* selem_release(), storage_release(): in any order, and as late as they like. */
active proctype callbacks()
{
	byte e = NONE, s = NONE, m;

end:	do
	ELEM_READY(0)
	ELEM_READY(1)
	ELEM_READY(2)
	ELEM_READY(3)
	ELEM_READY(4)
	ELEM_READY(5)
	ELEM_READY(6)
	:: atomic {
		if
		STORAGE_READY(0)
		STORAGE_READY(1)
		STORAGE_READY(2)
		STORAGE_READY(3)
		STORAGE_READY(4)
		fi
	   };
		do
		:: s_riders[s] ->
			atomic { lowest(s_riders[s], e); s_riders[s] = s_riders[s] & ~bit(e) };
			release_elem(e, m);
			e = NONE
		:: else -> break
		od;
		atomic { storage_gone(s); s = NONE }
	od
}
#endif

/*
 * take_map_side(), then the end of bpf_selem_unlink_nofail() and what its two callers on the side
 * of destroy, dismantle() and retry_selem(), do with the result. stuck: dismantle() was refused a
 * bucket's lock before and does not ask for another.
 */
inline give_up_storage_side(e, got, rides, on)
{
	if
	:: atomic { !stuck && !b_lock[map_of(e)] ->
		use_elem(e);
		use_map(map_of(e));
#ifdef BROKEN_SPLICE_IGNORED
		got = MAP | STORAGE;
#else
		got = (b_spliced[map_of(e)] -> STORAGE : MAP | STORAGE);
#endif
		if
		:: got & MAP -> b_list[map_of(e)] = b_list[map_of(e)] & ~bit(e)
		:: else
		fi
	   }
	:: refused || stuck -> got = 0; stuck = 1
	fi;
#ifdef BROKEN_FREED_WHILE_HASHED
	got = (got -> got : MAP | STORAGE);
#endif
	if
	:: got ->
		give_up(e, got, got);
		if
		:: got && rides ->
			free_elem(e, RIDES, 0);
			s_riders[on] = s_riders[on] | bit(e)
		:: got && !rides -> free_elem(e, DYING, in_rcu | in_trace)
		:: else
		fi
	:: else ->
#ifdef BROKEN_HANDED_OVER_FORGOTTEN
		if
		:: rides -> hand_over(orphan_e, e, got)
		:: else
		fi
#else
		hand_over(orphan_e, e, got)
#endif
	fi;
	got = 0
}

inline hand_over(queue, n, first)
{
	d_step { first = !(orphan_e | orphan_s); queue = queue | bit(n) };
	if
	:: first -> kicked = 1
	:: else
	fi
}

inline dismantle(s, e, got)
{
	if
	:: atomic { !s_lock[s] -> use_storage(s); s_detached[s] = 1; got = 1 }
	:: refused -> got = 0
	fi;
	if
	:: got ->
		do
		:: s_list[s] ->
			atomic { lowest(s_list[s], e); use_elem(e); unlink_storage(s, e) };
#ifndef BROKEN_STORAGE_POINTER_KEPT
			e_storage[e] = NONE;
#endif
			give_up_storage_side(e, got, true, s)
		:: else -> break
		od;
		atomic { got = 0; e = NONE; stuck = 0; free_storage(s) }
	:: else -> hand_over(orphan_s, s, got)
	fi
}

/* bpf_local_storage_destroy(): the owner has no reference left. */
proctype destroy(byte o)
{
	byte s, e = NONE, got, charge;
	bool stuck;

	atomic { !o_refs[o] -> in_rcu = in_rcu | DESTROY(o); s = o_storage[o] };
	if
	:: s != NONE ->
#ifdef BROKEN_CHARGED_TWICE
		charge = s_charge[s];
#endif
		/* close_gate() */
		atomic { use_storage(s); got = !s_closed[s]; s_closed[s] = 1 };
#ifdef BROKEN_DESTROY_DOES_NOT_WAIT
		skip;
#else
		!s_gate[s];
#endif
		if
		:: got ->
#ifndef BROKEN_CHARGED_TWICE
			charge = s_charge[s];
#endif
			o_storage[o] = NONE;
			dismantle(s, e, got)
		:: else -> charge = 0
		fi
	:: else
	fi;
	atomic {
		section_ends(DESTROY(o));
		uncharge(o, charge);
		o_gone[o] = 1;
		running--
	}
}

/* orphans_retry() */
active proctype worker()
{
	byte e = NONE, s = NONE, todo, got;
	bool stuck;

end:	do
	:: atomic { kicked -> kicked = 0 };
		/* llist_del_all() */
		d_step { worker_e = orphan_e; orphan_e = 0; todo = orphan_s; orphan_s = 0 };
		do
		:: worker_e ->
			atomic { lowest(worker_e, e); worker_e = worker_e & ~bit(e) };
			give_up_storage_side(e, got, false, 0);
			atomic { e = NONE; stuck = 0 }
		:: todo ->
			atomic { lowest(todo, s); todo = todo & ~bit(s) };
			dismantle(s, e, got);
			s = NONE
		:: !worker_e && !todo -> break
		od;
		/* What is queued again by now was refused: RETRY_DELAY. */
		if
		:: kicked ->
progress:		skip
		:: else
		fi
	od
}

/*
 * take_storage_side(), then the end of bpf_selem_unlink_nofail(). held is what there is to give
 * up: 0 if a lock was refused.
 */
inline take_storage_side(m, e, held)
{
	atomic {
#ifndef BROKEN_NOT_A_READER
		in_rcu = in_rcu | FREE_MAP(m);
#endif
		use_elem(e);
		s = e_storage[e]
	};
#ifdef BROKEN_RETRIED_ON_THE_SPOT
	do
	:: s != NONE && s_detached[s] -> s = e_storage[e]
	:: else -> break
	od;
#endif
	if
	:: s == NONE -> held = MAP
	:: s != NONE ->
		if
		:: atomic { !s_lock[s] ->
			use_storage(s);
			if
#ifndef BROKEN_DETACHED_IGNORED
			:: s_detached[s] -> held = MAP
#endif
			:: else -> s_lock[s] = 1; held = MAP | STORAGE
			fi
		   }
		:: refused -> held = 0
		fi
	fi;
	if
	:: held & STORAGE ->
		atomic { unlink_storage(s, e); last = !s_list[s] };
		/* bpf_local_storage_enter() */
		d_step {
			inside = !s_closed[s];
			s_gate[s] = s_gate[s] + inside
		};
		if
		:: inside ->
			if
			:: last -> shut(s, 1, last)
			:: else
			fi;
			/* The owner's pointer goes last: who reads NULL there waits for nobody. */
#ifdef BROKEN_POINTER_CLEARED_EARLY
			if
			:: last -> part(s_owner[s])
			:: else
			fi;
#endif
			s_charge[s] = s_charge[s] - (last -> ELEM + STOR : ELEM);
#ifdef BROKEN_UNCHARGED_OUTSIDE
			s_gate[s]--;
#endif
			d_step { uncharge(s_owner[s], (last -> ELEM + STOR : ELEM)) };
#ifndef BROKEN_POINTER_CLEARED_EARLY
			if
			:: last -> part(s_owner[s])
			:: else
			fi;
#endif
#ifndef BROKEN_UNCHARGED_OUTSIDE
			/* bpf_local_storage_leave() */
			s_gate[s]--
#endif
		:: else -> last = 0
		fi;
		atomic { use_storage(s); s_lock[s] = 0 };
		if
		:: last -> free_storage(s)
		:: else
		fi
	:: else
	fi;
	atomic { s = NONE; last = 0; inside = 0; section_ends(FREE_MAP(m)) };

	/* Given up or kept, it is not on this list any more. */
	if
	:: held -> atomic { m_list[m] = m_list[m] & ~bit(e); give_up(e, held, mine) }
	:: else -> atomic { m_list[m] = m_list[m] & ~bit(e); m_kept[m] = m_kept[m] | bit(e) }
	fi
}

/* bpf_local_storage_map_free(), bpf_local_storage_map_unlink(): the map has no reference left. */
proctype map_free(byte m)
{
	byte e = NONE, s = NONE, held;
	bool last, inside, mine;

	!m_refs[m];
	if
	:: !m_live[m] -> goto done
	:: else
	fi;
	do
	:: m_list[m] ->
		/* unlink_list() */
		lowest(m_list[m], e);
		take_storage_side(m, e, held);
		atomic {
			if
			:: mine -> free_elem(e, DYING, in_rcu)
			:: else
			fi;
			e = NONE; held = 0; mine = 0
		}
	:: !m_list[m] && !b_spliced[m] ->
		if
		:: atomic { !b_lock[m] ->
			b_spliced[m] = 1;
			m_list[m] = b_list[m];
			b_list[m] = 0
		   }
		:: refused ->
progress:		atomic { m_list[m] = m_kept[m]; m_kept[m] = 0 }
		fi
	:: !m_list[m] && b_spliced[m] && m_kept[m] ->
progress_kept:	atomic { m_list[m] = m_kept[m]; m_kept[m] = 0 }
	:: !m_list[m] && b_spliced[m] && !m_kept[m] -> break
	od;
	!m_live[m];
done:
	atomic {
		assert(!b_list[m] || I5_freed_on_list);
		m_gone[m] = 1;
		running--
	}
}

/*
 * A program: update and delete, each in a read-side section of its own. The sleepable one looks up
 * under RCU Tasks Trace and is an RCU reader only while it walks a list. In the last section it
 * drops its reference to the owner while it still uses what it has found or made there.
 */
proctype program(byte who, o, ops, maps)
{
	byte m, e = NONE, s = NONE, old = NONE, fresh = NONE, seen = NONE, unlinked, size;
	bool got, last;

	do
	:: ops == 0 -> break
	:: ops > 0 ->
		if
		:: maps & bit(A) -> m = A
		:: maps & bit(B) -> m = B
		fi;
		atomic {
			ops--;
			if
			:: who == PROG0 -> in_trace = in_trace | who
			:: else -> in_rcu = in_rcu | who
			fi;
			/* I5: what is on its way out by now must not be found. */
			unlinked = 0;
			for (i : 0 .. NE - 1) {
				unlinked = unlinked | (e_mem[i] > LIVE -> bit(i) : 0)
			}
			s = o_storage[o]
		};
		/* bpf_local_storage_lookup(), or a walk */
		if
		:: s == NONE
		:: s != NONE && m == A -> atomic { use_storage(s); e = s_slot[s] }
		:: s != NONE && m == B ->
			atomic {
				use_storage(s);
				old = (s_detached[s] -> 0 : s_list[s]);
#ifndef BROKEN_WALK_NO_READER
				in_rcu = in_rcu | (who == PROG0 -> PROG0_WALK : who)
#endif
			};
			d_step {
				for (i : 0 .. NE - 1) {
					if
					:: old & bit(i) ->
						use_elem(i);
						e = (map_of(i) == B -> i : e)
					:: else
					fi
				};
				i = 0;
				old = NONE
			};
			if
			:: who == PROG0 -> section_ends(PROG0_WALK)
			:: else
			fi
		fi;
		assert(e == NONE || !(unlinked & bit(e)) || I5_found_unlinked);
		unlinked = 0;

		if
		:: e != NONE -> goto delete
		:: goto update
		fi;

delete:		/* bpf_selem_unlink() */
		atomic { use_elem(e); s = e_storage[e] };
		if
		:: atomic { !s_lock[s] ->
			use_storage(s);
			if
			:: s_closed[s] || !e_state[e] -> got = 0
			:: else -> s_lock[s] = 1; got = 1
			fi
		   }
		:: refused -> got = 0
		fi;
		if
		:: !got -> goto finish
		:: else
		fi;
		if
		:: atomic { !b_lock[m] ->
			b_lock[m] = 1;
			assert(b_list[m] & bit(e) || I5_not_on_list);
			b_list[m] = b_list[m] & ~bit(e)
		   }
		:: refused -> s_lock[s] = 0; goto finish
		fi;
		atomic { unlink_storage(s, e); e_state[e] = 0; b_lock[m] = 0; last = !s_list[s] };
		if
		:: last -> shut(s, 0, last)
		:: else
		fi;
		atomic {
			size = (last -> ELEM + STOR : ELEM);
			s_charge[s] = s_charge[s] - size;
			if
			:: last -> part(o)
			:: else
			fi;
			use_storage(s);
			s_lock[s] = 0
		};
#ifdef BROKEN_FIELDS_FREED_EARLY
		fields = fields & ~bit(e);
#endif
		d_step { uncharge(o, size); size = 0 };
		if
		:: last ->
			atomic {
				free_elem(e, RIDES, 0);
				s_riders[s] = s_riders[s] | bit(e);
				free_storage(s)
			}
		:: else ->
#ifdef BROKEN_ELEM_RCU_ONLY
			free_elem(e, DYING, in_rcu)
#else
			free_elem(e, DYING, in_rcu | in_trace)
#endif
		fi;
		goto finish;

update:		/* bpf_local_storage_update(), bpf_selem_alloc() */
		atomic {
			e = 0;
			do
			:: e_mem[e] != UNUSED -> e++
			:: else -> break
			od;
			e_mem[e] = LIVE;
			of_b = of_b | (m == B -> bit(e) : 0);
			fields = fields | bit(e);
			m_live[m]++;
			use_owner(o);
			o_charge[o] = o_charge[o] + ELEM
		};
again:		/* insert_selem() */
		s = o_storage[o];
		if
		:: s == NONE -> goto publish
		:: s != NONE -> assert(s != seen || I7_lost_race)
		fi;

		/* link_selem() */
		if
		:: atomic { !s_lock[s] ->
			use_storage(s);
			if
#ifndef BROKEN_LINKED_TO_ABANDONED
			:: s_closed[s] -> seen = s
#endif
			:: else -> s_lock[s] = 1; got = 1
			fi
		   }
		:: refused -> got = 0; seen = NONE
		fi;
		if
		:: !got && seen != NONE -> goto again
		:: !got && seen == NONE -> goto discard
		:: got
		fi;
		atomic {
			/* Looked up under the lock. Then selem_set_storage(). */
			if
			:: m == A -> old = s_slot[s]
			:: else ->
				for (i : 0 .. NE - 1) {
					old = (s_list[s] & of_b & bit(i) -> i : old)
				}
			fi;
			e_storage[e] = s;
			e_state[e] = MAP | STORAGE
		};
		if
		:: atomic { !b_lock[m] ->
			b_lock[m] = 1;
			if
			:: old != NONE -> b_list[m] = b_list[m] & ~bit(old)
			:: else
			fi;
			b_list[m] = b_list[m] | bit(e)
		   }
		:: refused -> s_lock[s] = 0; old = NONE; goto discard
		fi;
		atomic {
			s_list[s] = s_list[s] | bit(e);
			if
			:: old != NONE ->
				s_list[s] = s_list[s] & ~bit(old);
				e_state[old] = 0
			:: else -> s_charge[s] = s_charge[s] + ELEM
			fi
		};
		atomic {
			s_slot[s] = (m == A -> e : s_slot[s]);
			use_storage(s);
			b_lock[m] = 0;
			s_lock[s] = 0
		};
		goto inserted;

publish:	/* bpf_local_storage_alloc(), publish_storage() */
		if
		:: fresh == NONE -> d_step {
			fresh = 0;
			do
			:: s_mem[fresh] != UNUSED -> fresh++
			:: else -> break
			od;
			s_mem[fresh] = LIVE;
			s_owner[fresh] = o;
			s_charge[fresh] = STOR + ELEM;
			s_slot[fresh] = NONE;
			use_owner(o);
			o_charge[o] = o_charge[o] + STOR
		   }
		:: else
		fi;
#ifndef BROKEN_PUBLISHED_UNLOCKED
		if
		:: atomic { !b_lock[m] -> b_lock[m] = 1 }
		:: refused -> goto discard
		fi;
#endif
		/* cmpxchg(): until then nobody sees what is written here. */
		atomic {
			if
			:: o_storage[o] == NONE ->
				e_storage[e] = fresh;
				e_state[e] = MAP | STORAGE;
				s_list[fresh] = bit(e);
				s_slot[fresh] = (m == A -> e : NONE);
				o_storage[o] = fresh;
				fresh = NONE;
				got = 1
			:: else ->
#ifndef BROKEN_PUBLISHED_UNLOCKED
				b_lock[m] = 0;
#endif
				got = 0
			fi
		};
		if
		:: !got -> goto again
		:: else
		fi;
		atomic {
#ifndef BROKEN_PUBLISHED_UNLOCKED
			b_lock[m] = 0;
#endif
			b_list[m] = b_list[m] | bit(e)
		};

inserted:
		if
		:: fresh != NONE -> d_step { uncharge(o, STOR); free_storage(fresh); fresh = NONE }
		:: else
		fi;
		if
		:: old != NONE ->
			d_step { uncharge(o, ELEM) };
			atomic { free_elem(old, DYING, in_rcu | in_trace); old = NONE }
		:: else
		fi;
		goto finish;

discard:	/* bpf_local_storage_discard(), bpf_selem_discard() */
		if
		:: fresh != NONE -> d_step { uncharge(o, STOR); free_storage(fresh); fresh = NONE }
		:: else
		fi;
		d_step { uncharge(o, ELEM); free_elem(e, DYING, in_rcu | in_trace); e = NONE };

finish:
		if
		:: ops == 0 -> atomic { use_owner(o); o_refs[o]-- }
		:: else
		fi;
		/* The value is used still, and gets something put in. Also if it was deleted. */
		if
		:: e != NONE -> atomic { use_elem(e); fields = fields | bit(e) }
		:: else
		fi;
		atomic {
			e = NONE; s = NONE; seen = NONE; got = 0; last = 0;
			section_ends(who)
		}
	od;
	atomic {
		m_refs[A] = m_refs[A] - (maps & 1);
		m_refs[B] = m_refs[B] - (maps >> 1);
		running--
	}
}

/* The iterator over map B, bpf_sk_storage_iter_get(): has the map, and wants the owner. */
proctype visitor()
{
	byte e = NONE, s = NONE, o = NONE;

	atomic {
		in_rcu = in_rcu | VISIT;
		if
		:: b_list[B] -> lowest(b_list[B], e)
		:: else -> goto out
		fi
	};
	atomic { use_elem(e); s = e_storage[e] };
	if
	:: s == NONE -> goto out
	:: else
	fi;
	atomic {
		use_storage(s);
		if
		:: s_closed[s] -> goto out
		:: else -> s_gate[s]++; o = s_owner[s]
		fi
	};
	atomic {
		/* refcount_inc_not_zero() */
		use_owner(o);
		if
		:: o_refs[o] -> o_refs[o]++
		:: else -> o = NONE
		fi
	};
	atomic { use_storage(s); s_gate[s]-- };
out:
	atomic { e = NONE; s = NONE; section_ends(VISIT) };
	if
	:: o != NONE -> atomic { use_owner(o); o_refs[o]-- }
	:: else
	fi;
	atomic { m_refs[B]--; running-- }
}

/* When nothing moves any more, everybody must have finished and nothing be left. */
proctype watch()
{
	timeout;
	d_step {
		assert(!running || I1_left_over);
		for (i : 0 .. NE - 1) {
			assert(e_mem[i] == UNUSED || e_mem[i] == FREED || I1_left_over)
		};
		for (i : 0 .. NS - 1) {
			assert(s_mem[i] == UNUSED || s_mem[i] == FREED || I1_left_over)
		};
		for (i : 0 .. OWNERS - 1) {
			assert(!o_charge[i] || I4_charge)
		};
		assert(!fields || I2_fields_left)
	}
}

/* Each owner starts with values of A and B, of either, or of none. */
init
{
	byte o, values;

	atomic {
		for (o : 0 .. OWNERS - 1) {
			select(values : FEWEST .. MOST);
			o_storage[o] = NONE;
			s_slot[o] = NONE;
			if
			:: values ->
				s_mem[o] = LIVE;
				s_owner[o] = o;
				s_charge[o] = STOR;
				o_storage[o] = o;
				o_charge[o] = STOR
			:: else
			fi;
			for (i : 0 .. 1) {
				if
				:: values & bit(i) ->
					e_mem[2 * o + i] = LIVE;
					e_storage[2 * o + i] = o;
					e_state[2 * o + i] = MAP | STORAGE;
					of_b = of_b | (i << (2 * o + 1));
					fields = fields | bit(2 * o + i);
					s_list[o] = s_list[o] | bit(2 * o + i);
					s_charge[o] = s_charge[o] + ELEM;
					o_charge[o] = o_charge[o] + ELEM;
					b_list[i] = b_list[i] | bit(2 * o + i);
					m_live[i]++
				:: else
				fi
			}
			if
			:: values & bit(A) -> s_slot[o] = 2 * o
			:: else
			fi
		}
		values = 0;
#if OPS0
		o_refs[0]++;
		m_refs[A] = m_refs[A] + (MAPS0 & 1);
		m_refs[B] = m_refs[B] + (MAPS0 >> 1);
		running++;
		run program(PROG0, 0, OPS0, MAPS0);
#endif
#if OPS1
		o_refs[OWNERS - 1]++;
		m_refs[B]++;
		running++;
		run program(PROG1, OWNERS - 1, OPS1, bit(B));
#endif
#if VISITORS
		m_refs[B]++;
		running++;
		run visitor();
#endif
#if FREE_A
		running++;
		run map_free(A);
#endif
#if FREE_B
		running++;
		run map_free(B);
#endif
		for (o : 0 .. OWNERS - 1) {
			running++;
			run destroy(o)
		}
		o = 0;
		i = 0;
		run watch()
	}
}
