# make demo       Streets, preparation, source-only training, self-training with GBW, report
# make demo-seeds  the demo's scores on three more seeds (SEEDS="7 8 9"), against source-only and unweighted training
# make test       the tests, without the slow ones      make test-slow   the slow ones
# make study      the study of class weighting (hours; resumable)      make study-quick   its machinery in minutes
# make docs       the documents as a site with search and the API, in build/site
# make doctor     what is installed, which data sets are there
# make setup      only the environment, .venv           make clean       remove .venv and caches
#
# Every target sets .venv up first; once that is done, it costs a few hundredths of a second.
# PYTHON=<python 3.11 to 3.13> names the interpreter, DETECTRON2=<pip requirement> a Detectron2 of your own.

PY := .venv/bin/python
CANDIDATES := $(PY) python3.11 python3.12 python3.13 python3 python
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Threads that spin for long at barriers make small models tens of times slower when another job holds a core; threads that sleep at
# once make two of them slower than one. Some microseconds of spinning avoid both.
export GOMP_SPINCOUNT ?= 10000
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo demo-seeds test test-slow study study-quick docs doctor setup clean

demo: setup
	$(PY) tools/demo.py

demo-seeds: SEEDS ?= 7 8 9
demo-seeds: setup
	$(PY) tools/demo.py --data-only
	$(PY) tools/study.py --root output/demo/datasets --output output/demo/seeds --folder configs/demo --first source_only \
	  --configs source_only_continued self_training self_training_gbw --seeds $(SEEDS) --jobs 2

# One process per core, each with one thread; at most four, since a process takes a GB or two.
test: setup
	$(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow"

# Many of these start processes of their own, so they run one by one.
test-slow: setup
	$(PY) -m pytest -m slow

study: setup
	$(PY) tools/weighting_study.py --precision float32 --jobs 2

study-quick: setup
	$(PY) tools/weighting_study.py --tiers 1 3 5 --seeds 0 --jobs 2 --output output/study_quick --results output/study_quick/results \
	  --data source 24 --data target-train 24 --data target-val 8 --opts SOLVER.MAX_ITER 4 SOLVER.WARMUP_ITERS 1 \
	  DATASETS.SOURCE_VALIDATION 4

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

doctor: setup
	@$(PY) tools/doctor.py

setup:
	@python="$(PYTHON)"; \
	for candidate in $(CANDIDATES); do \
	  if [ -z "$$python" ] && "$$candidate" -c "$(SUPPORTED)" 2>/dev/null; then python=$$candidate; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: expected a Python 3.11 to 3.13, found none; install one or name it with PYTHON=<python>" >&2; exit 2; \
	fi; \
	"$$python" tools/setup_env.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .hypothesis .ruff_cache
	find gbw_panoptic tools tests datasets -name __pycache__ -type d -prune -exec rm -rf {} +
