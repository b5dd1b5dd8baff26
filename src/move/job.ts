// SPDX-License-Identifier: GPL-3.0-or-later
// What Orthanc's jobs engine asks of a job. The shim keeps each job's last state and sends it with each call: a job goes on after a
// restart of the runtime or of Orthanc.

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
  /** Works for a moment. @param serialized the job's last state, for a handle that is not known */
  step(handle: string, serialized: string): Promise<StepResult>;
  /** Resolves when nothing of the job is under way any more. `step` may take it up again.
   *  @returns its last state */
  stop(handle: string): Promise<JobState | undefined>;
  /** @param kept the serialized state, with a field "Type" that Orthanc has added and must not get back */
  restore(kept: string): JobState;
  /** The state at its submission. */
  reset(serialized: string): JobState;
  close(): Promise<void>;
}
