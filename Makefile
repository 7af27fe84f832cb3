# Everything runs from here. `make run` and `make test` need git, make, pip and Rust.

.PHONY: help run stop check test bench bench-full fuzz soak valgrind all install package clean

help:       ## this list
	@sed -n 's/^\([a-z-]*\): *## \(.*\)/\1\t\2/p' Makefile | expand -t 12

run:        ## set up, start a private cluster, show the tour
	@bin/run

stop:       ## stop the private cluster
	@bin/cluster stop

check:      ## form, layers, rules and the model: without a server, under a minute when warm
	@bin/check

test:       ## everything on PostgreSQL 16, what is not long on 15, 17 and 18 too; PG=16 TEST=erasing: some on one of them
	@PG="$(PG)" TEST="$(TEST)" bin/test

bench:      ## beside what people would use instead: doc/benchmarks.md, a quarter of an hour after the build
	@bin/bench

bench-full: ## the same, and growth to 10,000,000 customers: three quarters of an hour
	@bin/bench --full

fuzz:       ## millions of hostile inputs for the rules and for documents; SEED=N repeats a run
	@SEED="$(SEED)" bin/fuzz

soak:       ## ten minutes of clients of all kinds, crashes, dumps and a failover
	@bin/soak

valgrind:   ## every function under memcheck
	@bin/valgrind

all: # For `pgxn install`, which makes this first; install builds.

install:    ## into the server that PG_CONFIG=/path/to/pg_config names
	@bin/install $(if $(PG_CONFIG),$(PG_CONFIG),pg_config)

package:    ## release builds for PostgreSQL 15 to 18 as packages in target/packages; PG=16: for one of them
	@bin/package $(PG)

clean:      ## forget builds, tools and the private cluster
	@bin/cluster stop
	rm -rf target .local
