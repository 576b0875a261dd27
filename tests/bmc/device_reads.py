"""Where methods wait for the host, by name: once a group, a task of it, or a class.

A function belongs here if the number of epochs does not change how often it waits: it runs once a
group, task or class, or takes in rows in blocks. Judging waits once a pass, and has a test of its
own. What an update does is not asked: there no function may wait
(`tests/bmc/methods/test_device.py`).
"""

from __future__ import annotations

# L-BFGS decides on the host how far to go: a number is read at every evaluation of the loss
LINE_SEARCH = {
    "bmc.methods.fetril.FeTrIL._fit.<locals>.loss",
    "bmc.methods.joint_linear.JointLinear._minimise.<locals>.loss",
    "bmc.methods.linear.minimise",
}

# what is solved once after a group, when its rows are first scored: a library's answer is checked
SOLVED = {
    "bmc.methods.analytic.AnalyticConsolidation.chosen_shrinkage",
    "bmc.methods.analytic.AnalyticConsolidation.solve",
    "bmc.methods.fecam.inverse_factors",
    "bmc.methods.regularised.Regularised._weights",
    "bmc.methods.regularised.Regularised.strength",
    "bmc.methods.slda.discriminants",
    "bmc.methods.task_record.TaskRecord.without_rows",
}

READS = (
    LINE_SEARCH
    | SOLVED
    | {
        "bmc.engines.base.model_bytes",
        "bmc.engines.base_phi.BasePhi.__init__",
        "bmc.engines.base_phi.BasePhi._of",
        "bmc.engines.local._expert_bank",
        "bmc.engines.local._input",
        "bmc.engines.local._sample_buffer",
        "bmc.methods.acil.ACIL.add",
        "bmc.methods.analytic.AnalyticConsolidation._message",
        "bmc.methods.analytic.AnalyticConsolidation._receive",
        "bmc.methods.analytic.AnalyticConsolidation.load_state",
        "bmc.methods.bmc.BatchModelConsolidation._consolidate",
        "bmc.methods.bmc_gaussian.GaussianReplay._add",
        "bmc.methods.bmc_gaussian.GaussianReplay._drawn",
        "bmc.methods.closed_form.ClosedForm.blocks",
        "bmc.methods.closed_form.ClosedForm.lift",
        "bmc.methods.closed_form.ClosedForm.load_state",
        "bmc.methods.closed_form.ClosedForm.unit",
        "bmc.methods.closed_form.random_projection",
        "bmc.methods.dmc.DeepModelConsolidation._consolidate",
        "bmc.methods.experience_replay.OnlineReplay.begin_group",
        "bmc.methods.experience_replay.Remembering.end_group",
        "bmc.methods.fecam.FeCAM._merge",
        "bmc.methods.fecam.FeCAM.add",
        "bmc.methods.fetril.FeTrIL._fit",
        "bmc.methods.fetril.FeTrIL.learn",
        "bmc.methods.gaussian_message.Statistics.of",
        "bmc.methods.gaussian_message.Table.rows",
        "bmc.methods.gaussian_message._eigen",
        "bmc.methods.gaussian_message.degrees_of_freedom",
        "bmc.methods.gaussians.ClassGaussians._share",
        "bmc.methods.gaussians.ClassGaussians.known",
        "bmc.methods.gdumb.GDumb._offer",
        "bmc.methods.gem.GradientEpisodicMemory._begin",
        "bmc.methods.gkeal.GKEAL._drawn",
        "bmc.methods.gkeal.GKEAL._features",
        "bmc.methods.gkeal.GKEAL.add",
        "bmc.methods.hal.HindsightAnchors._hindsight",
        "bmc.methods.hal.HindsightAnchors.end_group",
        "bmc.methods.icarl.ICaRL._joined",
        "bmc.methods.icarl.ICaRL._renew",
        "bmc.methods.joint_linear.JointLinear.importance",
        "bmc.methods.joint_linear.JointLinear.inputs",
        "bmc.methods.klda.KLDA.__init__",
        "bmc.methods.klda.KLDA.lift",
        "bmc.methods.knn.NearestNeighbours.add",
        "bmc.methods.label_regression.LabelRegression.members",
        "bmc.methods.label_regression.regressed",
        "bmc.methods.linear.LinearHead.inputs",
        "bmc.methods.loranpac.LoRanPAC.append",
        "bmc.methods.net_method.NetMethod.inputs",
        "bmc.methods.net_method.NetMethod.new_net",
        "bmc.methods.regularised.Regularised._withhold",
        "bmc.methods.regularised.Regularised.receive",
        "bmc.methods.regularised.rows_of",
        "bmc.methods.ridge.Ridge._try",
        "bmc.methods.ridge.Ridge.ridge",
        "bmc.methods.slca.SlowLearner.end_group",
        "bmc.methods.task_head.Expert.learn",
        "bmc.methods.task_record.unpacked_records",
        "bmc.methods.xder.ExtendedDER._rewrite",
        "bmc.methods.xder.ExtendedDER.begin_group",
        "bmc.methods.zero_shot.ZeroShot.add",
        "bmc.network.mlp._xavier",
        "bmc.train.data._fill",
        "bmc.train.data._side_by_side",
        "bmc.train.data.withheld_rows",
        "bmc.train.memory.Samples.to_bytes",
        "bmc.train.memory.balanced_choice",
        "bmc.train.memory.first_of_each",
        "bmc.train.packed.from_message",
        "bmc.train.packed.rounding",
        "bmc.train.packed.to_message",
        "bmc.train.phases.Stopwatch._charge",
        "bmc.train.replay.Rows.add",
        "bmc.train.rows.select",
        "bmc.train.sampling.Balanced.__init__",
    }
)
