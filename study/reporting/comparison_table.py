"""Comparison table: what comparison.parquet holds, a row a study, mode and label count."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from study.analysis.statistics import Series, means, summarise
from study.reporting.compared import BASELINES, common_areas
from study.reporting.side_by_side import StudyResults, grouped
from study.storage.tables import curves_frame


def comparison_frame(results: Sequence[StudyResults]) -> pd.DataFrame:
    """The means of all curves, their areas and what their searches cost: results/README.md documents the columns."""
    tables = []
    for group in grouped(results):
        curves = pd.concat([curves_frame(result.study, result.fits) for result in group.results], ignore_index=True)
        own = {result.study.name: result for result in group.results}
        areas = common_areas(curves, means(curves))
        summary = summarise(curves)
        told = []
        for study, method, mode in summary[["study", "method", "mode"]].itertuples(index=False):
            result, area = own[study], areas.get(Series(study, method, mode))
            searched = mode not in BASELINES or mode == method
            told.append(
                {
                    "data_hash": result.study.data_hash,
                    "seed": result.study.seed,
                    "encoder": result.study.encoder,
                    "image_size": result.study.image_size,
                    "area": area.mean if area else None,
                    "area_low": area.low if area else None,
                    "area_high": area.high if area else None,
                    "trials": len(result.trials) if searched else None,
                    "images_seen": sum(trial.images_seen for trial in result.trials) if searched else None,
                    "seconds": sum(trial.seconds for trial in result.trials) if searched else None,
                }
            )
        columns = pd.DataFrame(told, index=summary.index, dtype=object)
        tables.append(pd.concat([summary, columns], axis=1))
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
