// Why there is a conflict, in words.

const WORDS: Record<string, string> = {
  ConcurrentWrites: "Several nodes wrote it without knowing of each other",
  CountedWhileDeleted: "One node counted in it while another deleted it",
};

export function reasonWords(reason: string): string {
  return WORDS[reason] ?? reason;
}
