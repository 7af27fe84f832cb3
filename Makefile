# Everything runs from here. `make run` and `make test` need git, make, pip and Rust.

.PHONY: run stop test bench install package clean

run:        ## set up, start a private cluster, show the tour
	@bin/run

stop:       ## stop the private cluster
	@bin/cluster stop

test:       ## everything, on PostgreSQL 15 to 18
	@bin/test

bench:      ## ratios against bare tables
	@bin/bench

install:    ## into the server that PG_CONFIG=/path/to/pg_config names
	@bin/install $(if $(PG_CONFIG),$(PG_CONFIG),pg_config)

package:    ## what `make install` installs, as a folder in target/release
	@bin/install $(if $(PG_CONFIG),$(PG_CONFIG),pg_config) --package

clean:      ## forget builds, tools and the private cluster
	@bin/cluster stop
	rm -rf target .local
