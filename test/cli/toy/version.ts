/** Something that changes in the toy Worker's sources. */
export const version = 1;
