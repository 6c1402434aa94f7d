console.log("the name of this file changes with its content");
