// SPDX-License-Identifier: GPL-3.0-or-later
// The interface between Orthanc's jobs engine and a job. The shim keeps the last state of each job and sends it with each call, so that
// the job goes on after a restart of the runtime or of Orthanc.

export interface JobState {
  /** 0 to 1. */
  readonly progress: number;
  /** A JSON object. */
  readonly content: string;
  readonly serialized: string;
}

/** The numbers of OrthancPluginJobStepStatus. */
export const StepStatus = { Success: 1, Failure: 2, Continue: 3 } as const;
export type StepStatus = (typeof StepStatus)[keyof typeof StepStatus];

export interface StepResult {
  readonly status: StepStatus;
  readonly state: JobState;
}

/** All jobs of one type. */
export interface JobRunner {
  /** Lets the job work for a moment. @param serialized the last state, from which a job with an unknown handle goes on */
  step(handle: string, serialized: string): Promise<StepResult>;
  /** Resolves when all work of the job has ended. A later `step` goes on with it.
   *  @returns its last state */
  stop(handle: string): Promise<JobState | undefined>;
  /** @param kept the serialized state, with a field "Type" that Orthanc has added and must not get back */
  restore(kept: string): JobState;
  /** @returns the state before the first step */
  reset(serialized: string): JobState;
  close(): Promise<void>;
}
